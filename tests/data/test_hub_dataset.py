"""The real `datasets` fetches from a Hub on loopback, in a process of its own: it reads the address at import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelforge.data import hub_dataset
from tests.data.dataset_server import DatasetServer

ROWS = b'{"q": "1", "turns": [{"role": "user"}]}\n{"q": "2", "turns": []}\n'
CONFIGS = b"""---
configs:
- config_name: easy
  data_files: easy.csv
- config_name: hard
  data_files: hard.csv
---
"""
REPOS = {
    "anna/lamps": {"README.md": b"# Lamps\n", "train.jsonl": ROWS, "test.jsonl": b'{"q": "3"}\n'},
    "anna/doors": {"README.md": CONFIGS, "easy.csv": b"q,a\ne,1\n", "hard.csv": b"q,a\nh,2\n"},
    "anna/exams": {"validation.csv": b"q,a\nv,1\n", "test.csv": b"q,a\nt,1\n"},
    "anna/alone": {"test.csv": b"q,a\nt,1\n"},
    "anna/club": {"train.csv": b"q,a\nt,1\n"},
    "anna/broken": {"train.jsonl": b'{"q": "1"}\n{"q": oops}\n'},
    "anna/script": {"script.py": b"raise SystemExit('run')\n", "train.csv": b"q,a\nt,1\n"},
    "anna/nothing": {"README.md": b"# Soon\n", "picture.xyz": b"x"},
}

# Fetches what it is asked for, one after another, and tells what came of each.
DRIVER = """
import json, sys
from modelforge.data import hub_dataset
from modelforge.data.readers import open_rows
from modelforge.errors import ModelForgeError
for asked in json.loads(sys.argv[1]):
    try:
        path = hub_dataset.fetch(*asked)
        told = {"path": str(path), "rows": [row.values for row in open_rows(path)]}
    except ModelForgeError as error:
        told = {"kind": error.kind, "what": error.what, "where": error.where, "fix": error.fix}
    print(json.dumps(told))
"""


# Cancels in the middle of a download, then lets it go on; tells of the size and the progress.
WATCHED = """
import json
from concurrent.futures import CancelledError
from modelforge.data import hub_dataset
from modelforge.data.readers import open_rows
seen = []
def cancel(here, total, file):
    seen.append(here)
    if here:
        raise CancelledError
print(json.dumps({"bytes": hub_dataset.count_bytes("anna/lamps")}))
try:
    hub_dataset.fetch("anna/lamps", watch=cancel)
except CancelledError:
    print(json.dumps({"cancelled": seen}))
seen.clear()
path = hub_dataset.fetch("anna/lamps", watch=lambda here, total, file: seen.append([here, total, file]))
print(json.dumps({"seen": seen, "rows": [row.values for row in open_rows(path)]}))
"""


def fetch_all(home: Path, endpoint: str, asked: list, script: str = DRIVER, **environment: str) -> list[dict]:
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home / "hf"), "MODELFORGE_HOME": str(home / "forge")}
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(asked)],
        env={**os.environ, **settings, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


ASKED = [
    ["anna/lamps", None, None],
    ["anna/lamps", None, "test"],
    ["anna/lamps", None, "train[:1]"],
    ["anna/doors", "hard", None],
    ["anna/alone", None, None],
    ["anna/doors", None, None],
    ["anna/doors", "medium", None],
    ["anna/exams", None, None],
    ["anna/exams", None, "train"],
    ["anna/club", None, None],
    ["anna/broken", None, None],
    ["anna/script", None, None],
    ["anna/nothing", None, None],
    ["anna/unknown", None, None],
]


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    """home, and what came of each fetch in ASKED, by id, config and split."""
    home = tmp_path_factory.mktemp("hub")
    (home / "anna" / "lamps").mkdir(parents=True)  # a folder of that name where the app was started
    (home / "anna" / "lamps" / "train.csv").write_text("q\nwrong\n")
    with DatasetServer(REPOS, gated={"anna/club"}) as hub:
        told = fetch_all(home, hub.url, ASKED)
        return home, {tuple(asked): each for asked, each in zip(ASKED, told, strict=True)}, hub.requests


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        (("anna/lamps", None, None), [json.loads(line) for line in ROWS.splitlines()]),
        (("anna/lamps", None, "test"), [{"q": "3"}]),
        (("anna/lamps", None, "train[:1]"), [json.loads(ROWS.splitlines()[0])]),
        (("anna/doors", "hard", None), [{"q": "h", "a": 2}]),
        (("anna/alone", None, None), [{"q": "t", "a": 1}]),
    ],
)
def test_split_is_fetched_as_a_file_that_the_readers_read(fetched, asked, rows):
    assert fetched[1][asked].get("rows") == rows, fetched[1][asked]


@pytest.mark.parametrize(
    ("asked", "what", "fix"),
    [
        (("anna/doors", None, None), "several configurations. It has: easy, hard.", "Set dataset_config"),
        (("anna/doors", "medium", None), "no configuration 'medium'. It has: easy, hard.", "Set dataset_config"),
        (("anna/exams", None, None), "several others. It has: validation, test.", "Set dataset_split"),
        (("anna/exams", None, "train"), "no split 'train'. It has: validation, test.", "Set dataset_split"),
        (("anna/club", None, None), "gated, and you do not have access", "Request access at https://"),
        (("anna/broken", None, None), "cannot be read", "Download one of its files"),
        (("anna/script", None, None), "cannot be read", "Download one of its files"),
        (("anna/nothing", None, None), "cannot be read", "Download one of its files"),
        (("anna/unknown", None, None), "does not exist on the Hub", "Check the name"),
    ],
)
def test_what_cannot_be_fetched_says_why_in_one_sentence_with_a_way_out(fetched, asked, what, fix):
    told = fetched[1][asked]
    assert (told["kind"], told["where"]) == ("data", asked[0])
    assert what in told["what"]
    assert "\n" not in told["what"]
    assert fix in told["fix"]


def test_only_the_split_that_is_wanted_is_downloaded(fetched):
    requests = [request for request in fetched[2] if "anna/lamps" in request]
    first = [request for request in requests if "train.jsonl" in request]
    second = [request for request in requests if "test.jsonl" in request]
    assert first
    assert requests.index(second[0]) > requests.index(first[-1])


def test_nothing_is_left_behind_but_whole_files(fetched):
    home, told, _ = fetched
    kept = {str(path) for path in (home / "forge" / "cache" / "hub-datasets").iterdir()}
    assert kept == {each["path"] for each in told.values() if "path" in each}


@pytest.mark.slow
def test_fetched_once_it_is_had_without_the_network_and_a_new_revision_is_fetched_anew(tmp_path):
    asked = [["anna/alone", None, None]]
    with DatasetServer(REPOS) as hub:
        first, again = fetch_all(tmp_path, hub.url, asked * 2)
        assert again == first
        downloads = [request for request in hub.requests if "/resolve/" in request and "test.csv" in request]
        assert len(downloads) == len(set(downloads)) > 0
        (offline, other) = fetch_all(tmp_path, hub.url, [*asked, ["anna/lamps", None, None]], HF_HUB_OFFLINE="1")
        assert offline == first
        assert (other["kind"], other["where"]) == ("download", "anna/lamps")
        assert "switched off by HF_HUB_OFFLINE" in other["what"]
    changed = {"anna/alone": {"test.csv": b"q,a\nnew,1\n"}}
    with DatasetServer(changed, revision="6" * 40) as hub:
        (new,) = fetch_all(tmp_path, hub.url, asked)
    assert new["rows"] == [{"q": "new", "a": 1}]
    (gone,) = fetch_all(tmp_path, hub.url, asked)
    assert gone == new  # the server is down; the newest is taken


def test_hub_that_cannot_be_reached_or_fails_is_a_download_error(tmp_path):
    with DatasetServer(REPOS, status=503) as hub:
        (failing,) = fetch_all(tmp_path, hub.url, [["anna/alone", None, None]])
    (away,) = fetch_all(tmp_path, hub.url, [["anna/alone", None, None]])
    assert (failing["kind"], away["kind"]) == ("download", "download")
    assert "503" in failing["what"]
    assert "cannot be reached" in away["what"]
    assert failing["fix"]
    assert away["fix"]


@pytest.mark.parametrize("text", ["rajpurkar/squad", "squad", "a/b.c_d-e", "a" * 96, "4you/data"])
def test_ids_look_like_ids(text):
    assert hub_dataset.looks_like_id(text)


@pytest.mark.parametrize(
    "text",
    ["", "a b", "a/b/c", "./a", "../a", "/a", "a/", "~/a", "C:\\a", "a" * 97, "https://hf.co/a", "a/b\n", "-a", "ä/b"],
)
def test_paths_and_other_texts_do_not_look_like_ids_and_are_refused(text):
    assert not hub_dataset.looks_like_id(text)
    with pytest.raises(hub_dataset.DatasetError, match="not the id"):
        hub_dataset.fetch(text)


def test_fetch_that_is_watched_tells_of_its_progress_and_resumes_after_a_cancel(tmp_path):
    with DatasetServer(REPOS) as hub:
        told = fetch_all(tmp_path, hub.url, [], WATCHED)
    assert told[0] == {"bytes": sum(map(len, REPOS["anna/lamps"].values()))}
    assert told[1]["cancelled"][-1] > 0
    assert told[2]["seen"][-1] == [len(ROWS), len(ROWS), ""]
    assert told[2]["rows"] == [json.loads(line) for line in ROWS.splitlines()]
    assert sum(request.endswith("/train.jsonl") and request.startswith("GET") for request in hub.requests) <= 2
    assert not list((tmp_path / "forge" / "cache" / "hub-datasets").glob("*-files"))
