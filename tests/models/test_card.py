"""The model card: true, safe against what people type, and free of what is private."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelforge.models.card import as_text, is_local_path, model_card, public_manifest
from modelforge.recipe import STARTER, Recipe, Task

NASTY = [
    "---\nlicense: mit\n---\n# Hijacked",
    'a: "b" # c',
    "`code` ``` ~~~ | cell | <script>alert(1)</script>",
    "![x](http://evil.example/x.png) [y](javascript:z)",
    "\x00\x1b[31m\u202egnp\ud800\r\nSetext\n======",
    "{{ '{0}'.format(1) }} %s \\N{BULLET} '''\"\"\"",
    "$x$ @someone #1 &lt; *bold* _it_",
]


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "id": "model-0123456789ab",
        "name": "FAQ bot",
        "base_model": STARTER,
        "base_source": "starter: dequantised copy of Q4_1 GGUF",
        "custom_base_model": False,
        "task": "text-generation",
        "method": "sft",
        "tuning": "lora",
        "created": "2026-11-05T10:00:00+00:00",
        "dataset": {
            "id": "dataset-0123456789ab",
            "name": "faq.csv",
            "rows": 120,
            "train_rows": 108,
            "eval_rows": 12,
            "sha256": "ab" * 32,
        },
        "recipe": Recipe.build({"dataset": "/home/anna/secret project/faq.csv"}).model_dump(mode="json"),
        "metrics": {"base": {"perplexity": 20.123456, "rougeL": 0.1}, "tuned": {"perplexity": 3.5, "f1": 1.0}},
        "versions": {"torch": "2.13.0+cpu", "peft": "0.21.0"},
        "seconds": 205.4,
        "hardware": {"device": "2 CPU cores", "dtype": "float32"},
    } | changes


def front_matter(card: str) -> dict[str, Any]:
    before, metadata, rest = re.split(r"^---$\n?", card, maxsplit=2, flags=re.MULTILINE)
    assert before == "" and rest.startswith("\n# ")
    loaded: dict[str, Any] = yaml.safe_load(metadata)
    return loaded


def test_front_matter_has_only_what_the_hub_knows() -> None:
    assert front_matter(model_card(manifest())) == {
        "library_name": "peft",
        "base_model": STARTER,
        "base_model_relation": "adapter",
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "tags": ["modelforge", "lora", "sft"],
    }


def test_card_tells_base_data_recipe_metrics_and_origin() -> None:
    card = model_card(manifest(), "anna/faq-bot")
    for told in (
        f"https://huggingface.co/{STARTER}",
        r"dequantised copy of Q4\_1 GGUF",
        "- Examples: 120",
        "- Held-out examples: 12",
        "- Hardware: 2 CPU cores, float32",
        "ab" * 32,
        "| perplexity | 20.12 | 3.5 |",
        "| rougeL | 0.1 | - |",
        "| Metric | Before | Tuned |",
        "| f1 | - | 1 |",
        "learning_rate: 0.0002",
        "205 seconds",
        r"torch 2.13.0\+cpu",
    ):
        assert told in card, told


def test_card_says_no_path_of_this_machine() -> None:
    card = model_card(manifest(base_source="folder /home/anna/base"), "anna/faq-bot")
    assert "/home" not in card and "secret" not in card
    assert "dataset: faq.csv" in card


@pytest.mark.parametrize("text", NASTY)
def test_names_break_neither_yaml_nor_markdown(text: str) -> None:
    changed = manifest(
        name=text,
        base_model=text,
        base_source=text,
        task=text,
        method=text,
        tuning=text,
        created=text,
        hardware=text,
        dataset={"name": text, "rows": text, "sha256": text},
        recipe={"dataset": text, "name": text, "columns": {"input": text}},
        metrics={"base": {text: 1.0}, "tuned": {}},
        versions={text: text},
    )
    card = model_card(changed, "anna/faq-bot")
    card.encode("utf-8")
    assert set(front_matter(card)) == {"library_name", "tags"}
    assert front_matter(card)["tags"] == ["modelforge"]
    outside = re.sub(r"^(`{3,})yaml\n.*?^\1$", "", card, flags=re.DOTALL | re.MULTILINE)
    headings = [line for line in outside.splitlines() if line.startswith("#")]
    assert len(headings) == 8, headings
    assert "\n---" not in outside.split("\n# ", 1)[1]
    assert not re.search(r"(?<!\\)<|(?<!\\)!\[", outside)
    table = [line for line in outside.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {4}


@pytest.mark.parametrize("text", NASTY)
def test_code_is_python_whatever_the_names(text: str) -> None:
    code = model_card(manifest(base_model=text, tuning="qlora"), text).split("python\n")[1].split("\n```")[0]
    strings = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    assert text in strings


@pytest.mark.parametrize("task", list(Task))
def test_every_task_has_its_tag(task: Task) -> None:
    card = model_card(manifest(task=task.value), "anna/faq-bot")
    assert front_matter(card)["pipeline_tag"] in {"text-generation", "summarization", "question-answering"}


def test_card_of_an_empty_manifest_can_still_be_made() -> None:
    card = model_card({})
    assert front_matter(card)["library_name"] == "peft"
    assert "Not recorded." in card and "Not measured." in card


def test_base_has_a_column_where_the_run_started_from_another_model() -> None:
    card = model_card(manifest(metrics={"before": {"f1": 0.5}, "base": {"f1": 0.25}, "tuned": {"f1": 0.75}}))
    assert "| Metric | Before | Base | Tuned |" in card and "| f1 | 0.5 | 0.25 | 0.75 |" in card


def test_fault_06_card_of_a_fully_tuned_model_speaks_of_no_adapter() -> None:
    card = model_card(manifest(tuning="full", base_model="/srv/base"), "anna/faq-bot")
    assert "peft" not in card.split("## Recipe")[0].lower() and "PeftModel" not in card
    assert "adapter" not in card.split("## Recipe")[0].lower() and "is needed" not in card
    full = front_matter(model_card(manifest(tuning="full")))
    assert full["library_name"] == "transformers" and full["base_model_relation"] == "finetune"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "high", True])
def test_what_is_not_a_number_is_a_dash(value: Any) -> None:
    assert "| loss | - | 1 |" in model_card(manifest(metrics={"base": {"loss": value}, "tuned": {"loss": 1}}))


@pytest.mark.parametrize(
    "folder", ["/home/anna/my base", r"C:\Users\anna\my base", "~/my base", "./my base", "../x/my base", "a/b/my base"]
)
def test_base_model_in_a_folder_is_never_named_as_a_hub_model(folder: str) -> None:
    public = public_manifest(manifest(base_model=folder, recipe={"base_model": folder}))
    assert public["base_model"] == public["recipe"]["base_model"] == "./my base"
    assert "base_model" not in front_matter(model_card(manifest(base_model=folder)))


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("/home/anna/data/faq.csv", "faq.csv"),
        ("/home/anna b/my data/faq.csv", "faq.csv"),
        (r"C:\data\anna\faq.csv", "faq.csv"),
        (r"\\server\share\faq.csv", "faq.csv"),
        ("file:///home/anna/faq.csv", "faq.csv"),
        (f"folder {Path.home()}/x y/base", "folder x y/base"),
        ("folder /srv/models/base, from (/srv/other/base)", "folder base, from (base)"),
        ("https://huggingface.co/a/b", "https://huggingface.co/a/b"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("2026/11/05 and/or 3/4", "2026/11/05 and/or 3/4"),
        (r".*\.q_proj\.lora", r".*\.q_proj\.lora"),
        ("questions and answers", "questions and answers"),
    ],
)
def test_paths_in_a_manifest_keep_their_last_part_only(text: str, public: str) -> None:
    assert public_manifest({"name": text, "deep": [{"er": text}]}) == {"name": public, "deep": [{"er": public}]}


def test_public_manifest_leaves_the_original_as_it_was() -> None:
    original = manifest(base_model="/srv/base")
    public_manifest(original)
    assert original == manifest(base_model="/srv/base")


def test_hub_ids_and_folders_are_told_apart() -> None:
    assert not any(map(is_local_path, ["gpt2", STARTER, "user/name_1.5-x"]))
    assert all(map(is_local_path, ["/srv/x", "~/x", "./x", "..", "a/b/c", r"C:\x", r"a\b", "", "my model"]))


def test_long_text_is_cut() -> None:
    assert len(as_text("x" * 1000)) == 200


def test_metadata_is_what_the_hubs_own_client_reads() -> None:
    from huggingface_hub import ModelCard, ModelCardData

    told = manifest(recipe={"dataset": "anna/lamps"}, dataset={"name": "anna/lamps", "rows": 3})
    for form, library, relation in (("adapter", "peft", "adapter"), ("merged", "transformers", "finetune")):
        data = ModelCard(model_card(told, "anna/faq", form=form)).data
        assert isinstance(data, ModelCardData)
        assert (data.library_name, data.base_model, data.base_model_relation) == (library, STARTER, relation)
        assert (data.license, data.datasets, data.pipeline_tag) == ("apache-2.0", ["anna/lamps"], "text-generation")
        assert not data.eval_results and "model-index" not in data.to_dict()


def test_gguf_files_are_a_quantization_of_the_tuned_model_and_not_of_its_base() -> None:
    alone = front_matter(model_card(manifest(), "anna/faq-gguf", form="gguf", quantizations=["Q8_0"]))
    assert (alone["library_name"], alone["base_model"], alone["base_model_relation"]) == ("gguf", STARTER, "finetune")
    known = manifest(pushed={"adapter": "anna/faq", "merged": "anna/faq-merged"})
    card = model_card(known, "anna/faq-gguf", form="gguf", quantizations=["Q8_0", "F16"])
    beside = front_matter(card)
    assert (beside["base_model"], beside["base_model_relation"]) == ("anna/faq-merged", "quantized")
    assert {"gguf", "llama.cpp", "ollama"} <= set(beside["tags"])
    assert "ollama run hf.co/anna/faq-gguf:Q8_0" in card and "llama-server -hf anna/faq-gguf:Q8_0" in card
    assert "pip install" not in card and "pushed" not in public_manifest(known)


def test_merged_model_is_loaded_without_peft_and_served_by_vllm() -> None:
    card = model_card(manifest(tuning="qlora"), "anna/faq", form="merged")
    assert "PeftModel" not in card and "BitsAndBytes" not in card and "bitsandbytes" not in card
    assert "vllm serve anna/faq" in card


def test_card_has_revision_intervals_verdict_and_limits() -> None:
    differences = {
        "rougeL": {"value": 0.25, "low": 0.1, "high": 0.4},
        "loss": {"value": 1.0, "low": None, "high": None},
    }
    metrics = {"base": {"rougeL": 0.1, "loss": 2.0}, "tuned": {"rougeL": 0.35, "loss": 1.0}}
    verdict = {"word": "better", "why": "ROUGE-L rose from 0.100 to 0.350.", "differences": differences, "forgot": ""}
    commit = "commit:" + "ab" * 20
    card = model_card(manifest(metrics={**metrics, "verdict": verdict}, revisions={"base_model": commit}), "anna/faq")
    assert "| rougeL | 0.1 | 0.35 | 0.25 (0.1 to 0.4) |" in card and "| loss | 2 | 1 | - |" in card
    assert "**better**" in card and "## Limits" in card
    assert f"{STARTER}/tree/{'ab' * 20}" in card and f'revision="{"ab" * 20}"' in card
    assert "Licence: not recorded" in card and "licence: Apache-2.0" in card
