"""Pushing through the real huggingface_hub client to a Hub-like server on loopback, and loading again from there."""

from __future__ import annotations

import json
import socket
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants, snapshot_download
from huggingface_hub.utils import _http

from modelforge.errors import HubError, ModelForgeError
from modelforge.models import hub
from modelforge.models.card import model_card
from modelforge.models.hub_files import PushFile, Source, list_files
from modelforge.recipe import STARTER
from tests.hub_server import CLOSE, HubServer

TOKEN = "hf_annas_token_1234567890"
PUSHED = [
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "chat_template.jinja",
    "modelforge.json",
    "tokenizer.json",
    "tokenizer_config.json",
]
TEMPLATE = "{% for message in messages %}{{ message.content + ' ' }}{% endfor %}"


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model of two layers with random weights, in a folder of this machine."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=2, pad_token_id=0))
    folder = tmp_path_factory.mktemp("home") / "cache" / "starter"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def finished_folder(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder as training leaves it, and things beside it that must never be pushed."""
    import torch
    from peft import LoraConfig, get_peft_model
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(base_folder), config)
    folder = tmp_path_factory.mktemp("home") / "models" / "model-0123456789ab"
    tuned.save_pretrained(folder)
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[EOS]", "Hello!", "a", "b", "c"])}
    words |= {f"w{number}": number for number in range(len(words), 32)}
    plain = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, unk_token="[UNK]", pad_token="[PAD]", eos_token="[EOS]", name_or_path=str(base_folder)
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    manifest = {
        "id": folder.name,
        "name": "FAQ: bot",
        "base_model": STARTER,
        "base_source": f"starter: dequantised copy in {base_folder}",
        "task": "text-generation",
        "method": "sft",
        "tuning": "lora",
        "dataset": {"name": "faq.csv", "rows": 10, "sha256": "ab" * 32},
        "recipe": {"base_model": STARTER, "dataset": str(base_folder.parent / "faq.csv")},
        "metrics": {"base": {"perplexity": 9.0}, "tuned": {"perplexity": 2.0}},
    }
    (folder / "modelforge.json").write_text(json.dumps(manifest))
    for name in ("optimizer.pt", "optimizer.safetensors", "adapter_model.bin", "trainer_state.json", "events.jsonl"):
        (folder / name).write_bytes(b"private")
    for name in ("checkpoint-5/adapter_model.safetensors", "__pycache__/x.pyc", ".env", "log.txt", "scheduler.pkl"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"private")
    (folder / "generation_config.json").symlink_to("/etc/hostname")
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """The server; nobody is signed in, and the client's pauses between its own retries take no time."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda _: None))
    with HubServer(tokens={TOKEN: "anna", "hf_bertas_token_1234567890": "berta"}) as running:
        yield running


def source_of(folder: Path) -> Source:
    return Source(folder, "adapter", json.loads((folder / "modelforge.json").read_text()))


def files_to_push(folder: Path, card: str | None = None) -> tuple[PushFile, ...]:
    return list_files(source_of(folder), card)


def push(folder: Path, server: HubServer, repo_id: str = "anna/faq-bot", **options: Any) -> hub.PushResult:
    """Into an existing repository as a commit, unless told otherwise."""
    source = source_of(folder)
    chosen = {
        "token": TOKEN,
        "endpoint": server.url,
        "card": model_card(source.manifest, repo_id),
        "existing": "commit",
    }
    return hub.push(source, repo_id, **(chosen | options))


def failure(folder: Path, server: HubServer, repo_id: str = "anna/faq-bot", **options: Any) -> HubError:
    """The error of a push that must fail; in none of its texts is a token."""
    with pytest.raises(HubError) as caught:
        push(folder, server, repo_id, **options)
    token = (options.get("token") or "").strip() or TOKEN
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert token not in shown
    assert caught.value.fix
    return caught.value


def logits(base: Path, adapter: str | Path) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter)).eval()
    with torch.no_grad():
        return model(torch.arange(8)[None]).logits  # (1, 8, 32)


def test_pushed_model_loads_again_and_is_the_same(
    finished_folder: Path, base_folder: Path, server: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from safetensors.torch import load_file

    result = push(finished_folder, server)

    repo = server.repos["anna/faq-bot"]
    assert result.url == f"{server.url}/anna/faq-bot" and result.files == tuple(PUSHED) and result.private
    assert f"{result.url}/settings" in result.undo and not result.note
    assert repo["private"] and sorted(repo["files"]) == PUSHED
    assert len(repo["commits"]) == 2  # the Hub's own first one, and the push
    copy = snapshot_download("anna/faq-bot", endpoint=server.url, token=TOKEN, cache_dir=tmp_path)
    name = "adapter_model.safetensors"
    before, after = load_file(finished_folder / name), load_file(Path(copy) / name)
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert torch.equal(logits(base_folder, finished_folder), logits(base_folder, copy))
    code = repo["files"]["README.md"].decode().split("```python\n")[1].split("\n```")[0]
    local = code.replace('"anna/faq-bot"', repr(copy)).replace(f'"{STARTER}"', repr(str(base_folder)))
    exec(local.replace("max_new_tokens=200", "max_new_tokens=3"), {})  # noqa: S102
    assert capsys.readouterr().out.strip()


def test_list_before_the_push_is_what_arrives(finished_folder: Path, server: HubServer) -> None:
    card = "# A card of my own"
    listed = files_to_push(finished_folder, card)
    push(finished_folder, server, card=card)
    assert {file.name: file.bytes for file in listed} == {
        name: len(content) for name, content in server.repos["anna/faq-bot"]["files"].items()
    }
    assert [file.name for file in files_to_push(finished_folder)] == PUSHED


def test_nothing_pushed_names_a_path_of_this_machine(
    finished_folder: Path, base_folder: Path, server: HubServer
) -> None:
    assert str(base_folder) in (finished_folder / "adapter_config.json").read_text()
    push(finished_folder, server)
    files = server.repos["anna/faq-bot"]["files"]
    for name, content in files.items():
        assert str(base_folder.parent).encode() not in content, name
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == STARTER
    manifest = json.loads(files["modelforge.json"])
    assert manifest["recipe"] == {"base_model": STARTER, "dataset": "faq.csv"}
    assert manifest["base_source"] == "starter: dequantised copy in starter"
    assert str(base_folder) in (finished_folder / "adapter_config.json").read_text()  # the folder stays as it was


def test_progress_counts_every_byte(finished_folder: Path, server: HubServer) -> None:
    seen: list[hub.PushProgress] = []
    push(finished_folder, server, progress=seen.append)
    assert [seen[0].step, seen[-1].step] == ["creating", "finished"]
    total = sum(file.bytes for file in files_to_push(finished_folder))
    assert any(each.file == "adapter_model.safetensors" for each in seen)
    assert all(each.total_bytes == seen[-1].sent for each in seen) and abs(seen[-1].sent - total) < 1000
    assert [each.sent for each in seen] == sorted(each.sent for each in seen)


def test_second_push_updates(finished_folder: Path, server: HubServer) -> None:
    push(finished_folder, server)
    push(finished_folder, server, card="# Better words")
    repo = server.repos["anna/faq-bot"]
    assert repo["files"]["README.md"] == b"# Better words"
    assert len(repo["commits"]) == 3
    assert sum(request.startswith("PUT") for request in server.requests) == 1  # the weights were there


def test_pushing_the_same_again_is_no_error(finished_folder: Path, server: HubServer) -> None:
    push(finished_folder, server)
    again = push(finished_folder, server)
    assert "nothing changed" in again.note and again.undo == ""
    assert len(server.repos["anna/faq-bot"]["commits"]) == 2


@pytest.mark.parametrize(
    "path", ["repos/create", "validate-yaml", "preupload", "objects/batch", "objects/", "lfs-verify", "commit"]
)
@pytest.mark.parametrize("status", [500, CLOSE])
def test_retry_works_after_a_failure_at_any_stage(
    finished_folder: Path, server: HubServer, path: str, status: int
) -> None:
    server.fail_next(status, path, times=6)  # the client tries six times at most
    error = failure(finished_folder, server)
    assert ("500" in error.what) if status else ("was interrupted" in error.what), error
    assert server.repos.get("anna/faq-bot", {"files": {}})["files"] == {}  # nothing half-pushed is to be seen
    server.stop_failing()
    push(finished_folder, server)
    assert sorted(server.repos["anna/faq-bot"]["files"]) == PUSHED


def test_brief_trouble_of_the_hub_is_ridden_out(finished_folder: Path, server: HubServer) -> None:
    server.fail_next(503, "objects/")
    server.fail_next(CLOSE, "preupload")
    push(finished_folder, server)
    assert sorted(server.repos["anna/faq-bot"]["files"]) == PUSHED


@pytest.mark.parametrize("private", [True, False])
def test_new_repository_is_as_private_as_asked(finished_folder: Path, server: HubServer, private: bool) -> None:
    result = push(finished_folder, server, private=private)
    assert server.repos["anna/faq-bot"]["private"] is result.private is private
    assert result.note == ""


@pytest.mark.parametrize("private", [True, False])
def test_existing_repository_keeps_its_visibility_and_it_is_said(
    finished_folder: Path, server: HubServer, private: bool
) -> None:
    push(finished_folder, server, private=private)
    result = push(finished_folder, server, private=not private)
    assert server.repos["anna/faq-bot"]["private"] is result.private is private
    assert ("stays private" if private else "stays public") in result.note


def test_repository_made_by_another_push_in_the_same_moment(finished_folder: Path, server: HubServer) -> None:
    push(finished_folder, server, private=False)
    server.fail_next(404, "models/anna/faq-bot")  # not there yet when it was looked for
    result = push(finished_folder, server)
    assert not result.private and "stays public" in result.note


def test_file_that_the_repository_ignores_is_not_reported_as_pushed(finished_folder: Path, server: HubServer) -> None:
    ignoring = {".gitignore": b"modelforge.json"}
    server.repos["anna/faq-bot"] = {"private": True, "files": ignoring, "commits": [{"oid": "0" * 40, "files": {}}]}
    result = push(finished_folder, server)
    assert "modelforge.json" not in result.files and "modelforge.json" in result.note
    assert set(result.files) == set(server.repos["anna/faq-bot"]["files"]) - {".gitignore"}


def test_name_without_an_account_goes_to_ones_own(finished_folder: Path, server: HubServer) -> None:
    assert push(finished_folder, server, "faq-bot").url == f"{server.url}/anna/faq-bot"


def test_token_of_the_hub_login_is_used_when_none_is_given(
    finished_folder: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    push(finished_folder, server, token=None)
    assert "anna/faq-bot" in server.repos


def test_no_token_at_all_says_how_to_sign_in(finished_folder: Path, server: HubServer) -> None:
    error = failure(finished_folder, server, token=None)
    assert "not signed in" in error.what and "hf auth login" in error.fix
    assert server.requests == []


def test_empty_token_never_falls_back_to_the_login_of_the_machine(
    finished_folder: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "not signed in" in failure(finished_folder, server, token=" ").what


@pytest.mark.parametrize("token", ["hf_wrong_token_123456789", "hf_stray blank_123456789", "hf_schlüssel_1234567890"])
def test_wrong_token(finished_folder: Path, server: HubServer, token: str) -> None:
    error = failure(finished_folder, server, token=token)
    assert "token" in error.what
    assert token not in "".join(traceback.format_exception(error))
    assert server.repos == {}


def test_token_with_blanks_around_it_works(finished_folder: Path, server: HubServer) -> None:
    push(finished_folder, server, token=f"  {TOKEN}\n")
    assert "anna/faq-bot" in server.repos


def test_read_only_token_and_somebody_elses_account(finished_folder: Path, server: HubServer) -> None:
    server.tells_roles = False
    assert "berta" in failure(finished_folder, server, "berta/faq-bot").what  # in the Hub's own words
    push(finished_folder, server, private=False)
    stranger = failure(finished_folder, server, token="hf_bertas_token_1234567890")
    assert "403" in stranger.what and "permission" in stranger.fix
    server.read_only.add(TOKEN)
    assert "403" in failure(finished_folder, server).what
    assert "403" in failure(finished_folder, server, "anna/another").what
    server.tells_roles = True
    assert "can only read" in failure(finished_folder, server, "anna/another").what


def test_server_that_echoes_the_token_does_not_bring_it_into_a_message(
    finished_folder: Path, server: HubServer
) -> None:
    server.fail_next(400, "repos/create", message=f"what is {TOKEN}?")
    assert "what is ***?" in failure(finished_folder, server).what


def test_hub_that_cannot_be_reached(finished_folder: Path, server: HubServer) -> None:
    with socket.socket() as held:  # bound and not listening: connections are refused
        held.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{held.getsockname()[1]}"
        error = failure(finished_folder, server, endpoint=nowhere)
        assert "cannot be reached" in error.what and error.where == nowhere


def test_hub_that_does_not_answer_in_time(
    finished_folder: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "TIMEOUT_SECONDS", 0.2)
    _http.close_session()
    server.slow_seconds = 1.0
    assert "in time" in failure(finished_folder, server).what
    _http.close_session()


def test_hub_that_is_switched_off(finished_folder: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in failure(finished_folder, server).fix


@pytest.mark.parametrize("endpoint", ["not an address", "http://", "ftp://127.0.0.1", "http://127.0.0.1:99999"])
def test_address_that_is_none(finished_folder: Path, server: HubServer, endpoint: str) -> None:
    failure(finished_folder, server, endpoint=endpoint)


def test_server_that_is_no_hub(finished_folder: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"<html>Please log in</html>", b"[]", b"{}", b"null"):
        monkeypatch.setattr(HubServer, "answer", lambda *_, content=content: (200, content, {}))
        failure(finished_folder, server)


def test_card_that_the_hub_refuses_is_told_in_its_words(finished_folder: Path, server: HubServer) -> None:
    error = failure(finished_folder, server, card="---\nbase_model: [oh no\n---\n")
    assert "Invalid YAML" in error.what
    assert server.repos == {}  # it is checked before anything is made or sent


def test_folder_that_is_no_model(tmp_path: Path, finished_folder: Path, server: HubServer) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(HubError, match="folder"):
            hub.push(Source(folder, "adapter", {}), "anna/x", card="", token=TOKEN, endpoint=server.url)
    assert server.requests == []


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "a/b/c", "anna/", "/x", "anna/é", "anna/a b", "anna/x--y", "anna/..", "anna/x.git", "a" * 97),
        *("anna/;ls", "https://huggingface.co/anna/x", "../../etc/passwd", "anna\\x", "anna/x\ny"),
    ],
)
def test_name_that_the_hub_could_not_have_is_refused_before_any_call(
    name: str, finished_folder: Path, server: HubServer
) -> None:
    assert failure(finished_folder, server, name).where == "repository name"
    assert server.requests == []


def test_good_names_are_taken_as_they_are() -> None:
    assert [hub.check_repo_id(name) for name in ("anna/x", " x ", "Anna-B/x_1.5")] == ["anna/x", "x", "Anna-B/x_1.5"]


def test_token_typed_as_a_name_is_not_repeated() -> None:
    with pytest.raises(HubError) as caught:
        hub.check_repo_id(TOKEN)
    assert TOKEN not in str(caught.value)


def test_bug_of_ours_is_not_called_a_problem_of_the_hub(
    finished_folder: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_prepare", None)
    with pytest.raises(TypeError):
        push(finished_folder, server)


def test_push_leaves_no_token_behind(
    finished_folder: Path, server: HubServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    push(finished_folder, server)
    assert TOKEN not in caplog.text and "Xet" not in caplog.text
    for path in finished_folder.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()
    for content in server.repos["anna/faq-bot"]["files"].values():
        assert TOKEN.encode() not in content


def test_audit_12_every_failure_of_the_hub_is_one_error_with_what_where_and_fix(
    finished_folder: Path, server: HubServer
) -> None:
    for status in (400, 401, 402, 403, 404, 409, 412, 413, 418, 429, 500, 503, CLOSE):
        server.fail_next(status, "commit/main", message="the server's own words")
        error = failure(finished_folder, server)
        assert isinstance(error, ModelForgeError) and error.kind == "hub"
        assert error.what.endswith(".") and error.where and error.fix.endswith(".")
        assert "\n" not in str(error) and error.__cause__ is not None
        if status:
            assert "the server's own words" in error.what
