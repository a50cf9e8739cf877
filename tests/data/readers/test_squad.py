from __future__ import annotations

import json

import pytest

from modelforge.data.readers import json_window, open_rows
from modelforge.data.rows import Problem
from tests.data.readers.reading import places, read, values


def question(number, **more):
    answers = [{"text": f"a{number}", "answer_start": number}, {"text": "b", "answer_start": 0}]
    return {"question": f"q{number}?", "id": str(number), "answers": answers, **more}


SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "Lamps",
            "paragraphs": [
                # version 2 of SQuAD has the questions before the context
                {"qas": [question(1, is_impossible=False), question(2, is_impossible=False)], "context": "c1"},
                {"context": "c2", "qas": []},
                {"context": "c3", "qas": [question(3, is_impossible=True) | {"answers": []}], "document_id": 7},
            ],
        },
        {"paragraphs": [{"context": "c4 [{\"qas\": 1}]", "qas": [question(4)]}], "title": "Doors"},
    ],
}  # fmt: skip


def row(title, context, number, **more):
    answers = {"text": [f"a{number}", "b"], "answer_start": [number, 0]}
    return {"title": title, "context": context, "id": str(number), "question": f"q{number}?", "answers": answers} | more


ROWS = [
    row("Lamps", "c1", 1, is_impossible=False),
    row("Lamps", "c1", 2, is_impossible=False),
    row("Lamps", "c3", 3, is_impossible=True) | {"answers": {"text": [], "answer_start": []}},
    row("Doors", 'c4 [{"qas": 1}]', 4),
]


@pytest.mark.parametrize("window", [17, 100, 4 << 20])
@pytest.mark.parametrize("indent", [None, 0, 2])
def test_each_question_is_a_row_at_the_line_where_it_begins(write_file, monkeypatch, window, indent):
    monkeypatch.setattr(json_window, "_WINDOW_CHARACTERS", window)
    content = json.dumps(SQUAD, indent=indent)
    path = write_file("a.json", content)
    source = open_rows(path)
    assert (source.format, source.warnings) == ("json", ())
    assert values(path) == ROWS
    assert list(source.sample[0].values) == ["title", "context", "id", "question", "answers", "is_impossible"]
    lines = content.split("\n")
    for number, (counted, line) in enumerate(places(path), start=1):
        assert counted == number
        if indent is not None:
            assert lines[line - 1].strip() == "{"
            assert lines[line].strip() == f'"question": "q{number}?",'


@pytest.mark.parametrize("content", [SQUAD["data"], {"train": SQUAD["data"]}])
def test_articles_are_found_in_a_list_and_under_other_names(write_file, content):
    assert values(write_file("a.json", json.dumps(content))) == ROWS


def test_question_that_is_no_object_or_has_no_answers_is_no_reason_to_stop(write_file):
    qas = [5, {"question": "q?", "id": "1"}, {"question": "q?", "answers": "text"}]
    article = {"title": "t", "paragraphs": [{"context": "c", "qas": qas}]}
    broken, plain, text = read(write_file("a.json", json.dumps([article])))
    assert isinstance(broken, Problem)
    assert plain.values == {"title": "t", "context": "c", "id": "1", "question": "q?"}
    assert text.values["answers"] == "text"


def test_article_without_paragraphs_has_no_rows(write_file):
    assert not read(write_file("a.json", '{"data": [{"title": "t", "paragraphs": []}]}'))


def test_paragraphs_without_questions_are_no_squad(write_file):
    rows = [{"title": "t", "paragraphs": ["one", "two"]}, {"paragraphs": [{"text": "x"}]}]
    assert values(write_file("a.json", json.dumps(rows))) == rows
