"""The app answers within a second while the file of somebody else is checked, whatever is in it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.browser.drive import environment_of

# The app and a check in one process, as in the Dataset tab.
APP = """
import sys
from pathlib import Path
from threading import Thread
from modelforge.data.checks import check
from modelforge.forge import Forge
from modelforge.ui.access import decide_access
from modelforge.ui.app import build, launch
access = decide_access(environment={})
print(launch(build(Forge(), access), access), flush=True)
for line in sys.stdin:
    checking = Thread(target=check, args=[Path(line.strip())])
    checking.start()
    print("checking", flush=True)
    checking.join()
    print("checked", flush=True)
"""
CHARACTERS = 400_000  # a row
ATTACKS = {
    "hex digits": "0123456789012abcdef",  # 13 digits in a row may be a card, so the row is looked at again
    "marks upon one letter": "\u0327\u0301",
    "beginnings of addresses": "a@b.",
    "digits of no card": "1-",
    "words": "é ",
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], Iterator[str], str]]:
    """Its process and its address."""
    home = tmp_path_factory.mktemp("home")
    process = subprocess.Popen(
        [sys.executable, "-c", APP],
        env=environment_of(home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = iter(process.stdout)
    url = next(line.strip() for line in lines if line.startswith("http"))
    yield process, lines, url
    process.kill()
    process.wait()


@pytest.mark.parametrize("unit", ATTACKS.values(), ids=ATTACKS.keys())
def test_request_is_answered_within_a_second_while_a_hostile_file_is_checked(
    app: tuple[subprocess.Popen[str], Iterator[str], str], tmp_path: Path, unit: str
) -> None:
    process, lines, url = app
    text = unit * (CHARACTERS // len(unit))
    rows = [{"prompt": f"question {n}", "response": f"{n} {text}"} for n in range(3)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with httpx.Client(timeout=30) as client:
        client.get(url).raise_for_status()
        print(path, file=process.stdin, flush=True)
        assert next(lines).strip() == "checking"
        for _ in range(10):
            client.get(f"{url}favicon.ico", timeout=1.0).raise_for_status()
    assert "checked" in next(lines)
