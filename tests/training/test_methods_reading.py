"""Models that read with an encoder: what their trainers are given, and what they measure while they train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from modelforge.architecture import ENCODER, ENCODER_DECODER, Architecture
from modelforge.compute.tune import tune
from modelforge.data.windows import NOWHERE
from modelforge.models.generate import write_texts
from modelforge.models.spans import find_answers, score_spans
from modelforge.recipe import Recipe
from modelforge.scores.metrics import METRICS
from modelforge.training.examples import encode_examples
from modelforge.training.methods import load_method
from tests import tiny
from tests.trainers import PLAIN

KINDS: dict[Architecture, tuple[Any, Any, str, str]] = {
    ENCODER_DECODER: (tiny.text_to_text_model, tiny.text_to_text_tokenizer, "summarization", "summary"),
    ENCODER: (tiny.span_model, tiny.encoder_tokenizer, "question-answering", "span"),
}


def build(folder: Path, architecture: Architecture, *, rows: Any = None, **settings: Any) -> Any:
    """The trainer that such a recipe gets."""
    make_model, make_tokenizer, task, shape = KINDS[architecture]
    quick = {"max_steps": 2, "per_device_train_batch_size": 3, "learning_rate": 1e-2, "eval_split": 0.25, "task": task}
    recipe = Recipe().with_settings({**quick, **settings})
    model, tokenizer = make_model(), make_tokenizer()
    method = load_method("sft", architecture)
    rows = rows or tiny.mapped_rows(shape)
    examples = encode_examples(rows, method.make_encoder(tokenizer, recipe, model.config), recipe)
    return method.build_trainer(
        tune(model, recipe, architecture), tokenizer, examples, recipe=recipe, compute=PLAIN, folder=folder
    )


# ---- documents and summaries -----------------------------------------------------------------------------------


def test_audit_05_batch_of_documents_has_summaries_as_labels_and_nothing_else_of_them(tmp_path: Path) -> None:
    trainer = build(tmp_path, ENCODER_DECODER)
    tokenizer = trainer.processing_class
    pairs = {(row["document"], row["summary"]) for row in tiny.user_rows("summary")}
    for batch in trainer.get_train_dataloader():
        assert {"input_ids", "attention_mask", "labels"} <= batch.keys()
        for ids, mask, labels in zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True):
            document = tokenizer.decode(ids[mask.bool()][:-1])
            summary = tokenizer.decode(labels[labels != -100][:-1])
            assert (document, summary) in pairs
            assert ids[mask.bool()][-1] == labels[labels != -100][-1] == tokenizer.eos_token_id
            assert set(ids[~mask.bool()].tolist()) <= {tokenizer.pad_token_id}


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_held_out_loss_of_summaries_is_the_mean_over_all_their_tokens(tmp_path: Path, batch_size: int) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"{n}"}, {"role": "assistant", "content": "red lamp " * (1 + n % 5)}]}
        for n in range(16)
    ]
    trainer = build(tmp_path, ENCODER_DECODER, rows=rows, per_device_train_batch_size=batch_size)
    trainer.model.eval()
    total, tokens = 0.0, 0
    for row in trainer.eval_dataset:
        labels = torch.tensor([row["labels"]])
        with torch.no_grad():
            loss = trainer.model(input_ids=torch.tensor([row["input_ids"]]), labels=labels).loss
        total, tokens = total + float(loss) * labels.numel(), tokens + labels.numel()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(total / tokens, abs=1e-4)


def test_summaries_are_written_and_compared_whenever_it_is_measured(tmp_path: Path) -> None:
    trainer = build(tmp_path, ENCODER_DECODER, max_target_length=8)
    measured = trainer.evaluate()
    tokenizer = trainer.processing_class
    documents = [tokenizer(document)["input_ids"] for document, _ in trainer.written]
    answers = write_texts(trainer.model.eval(), tokenizer, documents, 8)
    assert measured["eval_rougeL"] == METRICS["rougeL"](answers, [summary for _, summary in trainer.written])
    assert len(trainer.written) == 4


# ---- questions on a text ---------------------------------------------------------------------------------------


def test_batch_of_questions_says_where_the_answers_stand(tmp_path: Path) -> None:
    trainer = build(tmp_path, ENCODER)
    tokenizer = trainer.processing_class
    answers = {row["question"]: row["answers"]["text"] for row in tiny.user_rows("span")}
    for batch in trainer.get_train_dataloader():
        for row, ids in enumerate(batch["input_ids"]):
            question = tokenizer.decode(ids[1:], skip_special_tokens=False).partition("<|im_end|>")[0]
            start, end = int(batch["start_positions"][row]), int(batch["end_positions"][row])
            if answers[question]:
                assert tokenizer.decode(ids[start : end + 1]).strip() == answers[question][0]
            else:
                assert start == end == NOWHERE


def test_held_out_questions_are_answered_whenever_it_is_measured(tmp_path: Path) -> None:
    trainer = build(tmp_path, ENCODER, max_length=24, doc_stride=4, max_answer_length=3)
    measured = trainer.evaluate()
    asked = [(row["context"], row["question"]) for row in trainer.eval_rows]
    spans = find_answers(trainer.model.eval(), trainer.encoder, asked, max_answer_length=3, may_be_missing=True)
    expected = score_spans([span.text for span in spans], trainer.eval_rows)
    assert {name: measured[f"eval_{name}"] for name in expected} == expected
    assert len(trainer.eval_rows) == 4 < len(trainer.eval_dataset)  # a text is read in several windows


def test_no_answer_is_an_answer_only_if_training_had_such_rows(tmp_path: Path) -> None:
    answered = [row for row in tiny.mapped_rows("span") if row["answers"]["text"]]
    assert build(tmp_path, ENCODER).may_be_missing
    assert not build(tmp_path, ENCODER, rows=answered).may_be_missing


def test_all_windows_of_a_long_text_are_trained_on(tmp_path: Path) -> None:
    long = [{**row, "context": f"{row['context']} {'So it goes on. ' * 30}"} for row in tiny.mapped_rows("span")]
    trainer = build(tmp_path, ENCODER, rows=long, max_length=32, doc_stride=4, eval_split=0.0)
    assert len(trainer.train_dataset) > 5 * 16
    assert max(map(len, trainer.train_dataset["input_ids"])) <= 32
    marked = sum(start != NOWHERE for start in trainer.train_dataset["start_positions"])
    assert 12 <= marked < len(trainer.train_dataset) / 2


def test_saved_span_head_is_with_the_adapter_and_not_among_its_matrices(tmp_path: Path) -> None:
    trainer = build(tmp_path, ENCODER)
    trainer.model.save_pretrained(tmp_path / "saved")
    settings = json.loads((tmp_path / "saved" / "adapter_config.json").read_text())
    assert set(settings["modules_to_save"]) == {"qa_outputs"}
    assert not any("qa_outputs" in name for name in settings["target_modules"])
