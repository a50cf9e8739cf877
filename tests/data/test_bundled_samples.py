from __future__ import annotations

import pytest

from modelforge.data.checks import check
from modelforge.data.samples import samples
from modelforge.recipe import Task


def test_there_is_one_sample_for_each_task():
    assert [sample.task for sample in samples()] == list(Task)


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample.task.value)
def test_sample_is_what_the_index_says_and_ready_to_be_trained_on(sample):
    report = check(sample.path)
    assert (report.task, report.rows, report.ok) == (sample.task, sample.rows, True)
    assert len(report.mapped_rows) == sample.rows
    assert report.unused_columns == ()
    assert not any(count.possible for name, count in report.repairs.items() if name != "drop_near_duplicates")
    assert sample.sentence.endswith(".")


def test_answers_of_the_customer_questions_are_short_and_asked_three_times():
    sample = next(sample for sample in samples() if sample.task is Task.TEXT_GENERATION)
    answers = [row["messages"][1]["content"] for row in check(sample.path).mapped_rows]
    assert len(set(answers)) == 20
    assert all(answers.count(answer) == 3 for answer in answers)
    assert all(len(answer.split()) <= 25 for answer in answers)
