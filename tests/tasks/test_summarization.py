from __future__ import annotations

import json

import pytest

from modelforge.data.checks import check
from modelforge.data.encode import IGNORED
from modelforge.data.prepare import prepare, read_rows
from modelforge.recipe import Recipe
from modelforge.tasks.summarization import INSTRUCTION, SPEC, read_pair, to_messages
from modelforge.training.methods import sft_decoder, sft_encoder_decoder
from tests import tiny

NASTY = [
    'He said "no" and \'yes\', then \\"maybe\\".',
    '{"article": "not json", "x": [1, {2}]} {{ braces }} {% raw %}',
    "line one\nline two\r\n\n\ttabbed\u2028separated",
    "  spaces at both ends  ",
    "emoji 👩\u200d👩\u200d👧 é e\u0301 \u202eright to left\u202c العربية",
]


@pytest.mark.parametrize("text", NASTY)
def test_audit_05_document_and_summary_survive_byte_for_byte(tmp_path, monkeypatch, text):
    monkeypatch.setenv("MODELFORGE_HOME", str(tmp_path / "home"))
    path = tmp_path / "news.jsonl"
    rows = [{"article": f"{n} {text}", "summary": f"{text} {n}"} for n in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    mapped = read_rows(prepare(check(path)).id)
    for row, original in zip(mapped, rows, strict=True):
        user, assistant = row["messages"]
        assert user == {"role": "user", "content": f"{INSTRUCTION}\n\n{original['article']}"}
        assert assistant == {"role": "assistant", "content": original["summary"]}


def test_audit_05_input_is_the_document_and_never_the_summary():
    row, faults = SPEC.shapes[0].map_row({"document": "the long text", "summary": "the gist"})
    assert faults == []
    assert row is not None
    assert "the gist" not in row["messages"][0]["content"]
    assert row["messages"][1] == {"role": "assistant", "content": "the gist"}


def test_document_alone_becomes_the_question_that_inference_sends():
    asked = to_messages({"document": "d"})
    assert asked == to_messages({"document": "d", "summary": "s"})[:1]


def encode_pair(document, summary, **settings):
    """(what the encoder is given, the labels), as text: exactly what training takes of a mapped row."""
    recipe = Recipe().with_settings(
        {"task": "summarization", "max_length": 4096, "max_target_length": 4096, **settings}
    )
    tokenizer = tiny.text_to_text_tokenizer()
    encode = sft_encoder_decoder.make_encoder(tokenizer, recipe, tiny.text_to_text_model().config)
    row, _ = SPEC.shapes[0].map_row({"document": document, "summary": summary})
    [feature] = encode(row).features
    assert feature.keys() == {"input_ids", "labels"}
    sides = [feature["input_ids"], feature["labels"]]
    assert all(side[-1] == tokenizer.eos_token_id for side in sides)
    return tuple(tokenizer.decode(side[:-1]) for side in sides)


@pytest.mark.parametrize("text", NASTY)
def test_audit_05_encoder_reads_the_document_alone_and_the_labels_are_the_summary_alone(text):
    assert encode_pair(f"1 {text}", f"{text} 2") == (f"1 {text}", f"{text} 2")


@pytest.mark.parametrize("text", NASTY)
def test_audit_05_decoder_reads_the_document_and_learns_the_summary_alone(text):
    tokenizer = tiny.tokenizer()
    encode = sft_decoder.make_encoder(
        tokenizer, Recipe().with_settings({"max_length": 4096}), tiny.config(max_position_embeddings=4096)
    )
    row, _ = SPEC.shapes[0].map_row({"document": f"1 {text}", "summary": f"{text} 2"})
    [feature] = encode(row).features
    learnt = [token for token in feature["labels"] if token != IGNORED]
    assert tokenizer.decode(learnt) == f"{text} 2{tokenizer.eos_token}"
    assert f"{INSTRUCTION}\n\n1 {text}{tokenizer.eos_token}" in tokenizer.decode(feature["input_ids"])


@pytest.mark.parametrize("document", [f"{INSTRUCTION}\n\nA text.", f"{INSTRUCTION}\n\n{INSTRUCTION}\n\n", "\n\n"])
def test_audit_05_document_that_looks_like_the_instruction_is_read_whole(document):
    assert read_pair({"messages": to_messages({"document": document, "summary": "s"})}) == (document, "s")


@pytest.mark.parametrize("make_encoder", [sft_decoder.make_encoder, sft_encoder_decoder.make_encoder])
def test_audit_05_rows_are_the_same_on_every_tier(make_encoder):
    row, _ = SPEC.shapes[0].map_row({"document": NASTY[1], "summary": NASTY[0]})
    config, tokenizer = tiny.config(), tiny.text_to_text_tokenizer()
    tokenizer.chat_template = tiny.TEMPLATE
    different = [
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8, "dtype": "float32"},
        {"per_device_train_batch_size": 16, "dtype": "bfloat16", "tuning.type": "qlora"},
        {"tuning.type": "full", "gradient_checkpointing": "on"},
    ]
    encoded = [make_encoder(tokenizer, Recipe().with_settings(each), config)(row) for each in different]
    assert encoded[0].features and all(each == encoded[0] for each in encoded)
