from __future__ import annotations

import hashlib
import json

import pytest

from modelforge.data.checks import check
from modelforge.data.prepare import prepare, read_manifest, read_rows
from modelforge.data.repairs import REPAIRS, RepairCount
from modelforge.errors import DatasetError

SUBJECTS = ["lamp", "door", "roof", "fence", "stove", "well", "gate", "shelf", "bench", "clock", "sledge", "kettle"]
GOOD = [
    {"question": f"What is the {subject} made of?", "answer": f"{number} parts, all from the {subject} works."}
    for number, subject in enumerate(SUBJECTS, start=3)
]
LONG = {
    "question": "How do I send a parcel back?",
    "answer": "Put it into its box, print the label, and take it to any shop that shows our sign.",
}
NEAR = LONG | {"answer": LONG["answer"].replace("any shop", "any store")}
SAME_WORDS = LONG | {"question": "  how do I send a PARCEL\nback?"}

CONTEXT = "The mill stands by the river. The old mill burnt down. The mill is closed."
SPANS = [
    {"context": f"House {n} is {colour}.", "question": f"What colour has {n}?", "answers": colour}
    for n, colour in enumerate(["red", "green", "blue", "white", "black", "brown", "grey", "pink"])
]


def ask_mill(start, text="mill"):
    return {"context": CONTEXT, "question": "What burnt?", "answers": {"text": [text], "answer_start": [start]}}


TEXT = {"type": "text", "text": "Look well."}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/mill.png"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}


def chat_about(*parts):
    asked = [{"type": "text", "text": f"What is this, {len(parts)} {parts[0]['type']}?"}, *parts]
    answered = f"It is number {len(str(parts))} of them."
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]}


# For each repair: rows that need it, and how often they do.
NEEDY = {
    "skip_bad_rows": ([*GOOD, {"question": "q"}, {"question": None, "answer": "a"}], 2),
    "numbers_to_text": ([*GOOD, {"question": 7, "answer": 1.5}, {"question": "q", "answer": 3}], 3),
    "relocate_answers": ([*SPANS, ask_mill(3)], 1),
    "strip": ([*GOOD, {"question": " q ", "answer": "\ta"}, {"question": "r", "answer": "b\n"}], 3),
    "leave_out_parts": ([*(chat_about(part) for part in (IMAGE, AUDIO, TEXT)), chat_about(IMAGE, AUDIO)], 4),
    "keep_good_answers": ([{**row, "label": number % 4 > 0} for number, row in enumerate(GOOD)], 3),
    "drop_duplicates": ([*GOOD, LONG, LONG, LONG], 2),
    "drop_near_duplicates": ([*GOOD, LONG, NEAR, SAME_WORDS], 2),
}


def contents(report):
    return [tuple(turn["content"] for turn in row["messages"]) for row in report.mapped_rows]


def pairs(rows):
    return [(row["question"], row["answer"]) for row in rows]


def test_every_repair_is_tried_here_and_described():
    assert NEEDY.keys() == REPAIRS.keys()
    assert all(REPAIRS.values())


@pytest.mark.parametrize("name", REPAIRS)
def test_repair_is_counted_as_possible_when_it_is_off_and_as_done_when_it_is_on(write_jsonl, name):
    rows, amount = NEEDY[name]
    path = write_jsonl(rows)
    assert check(path).repairs[name] == RepairCount(possible=amount, done=0)
    assert check(path, repairs=[name]).repairs[name] == RepairCount(possible=amount, done=amount)


@pytest.mark.parametrize("name", REPAIRS)
def test_good_file_needs_no_repair_and_none_changes_it(write_jsonl, name):
    path = write_jsonl(GOOD)
    plain, mended = check(path), check(path, repairs=[name])
    assert all(count == RepairCount(0, 0) for count in mended.repairs.values())
    assert list(mended.mapped_rows) == list(plain.mapped_rows)
    assert mended.to_json() == plain.to_json()


@pytest.mark.parametrize("name", REPAIRS)
def test_other_repairs_do_nothing_for_it(write_jsonl, name):
    rows, amount = NEEDY[name]
    others = [other for other in REPAIRS if other not in (name, "skip_bad_rows")]
    report = check(write_jsonl(rows), repairs=others)
    assert report.repairs[name] == RepairCount(possible=amount, done=0)


@pytest.mark.parametrize("name", REPAIRS)
def test_file_itself_is_never_changed_and_switching_off_gives_the_first_report_again(write_jsonl, name):
    path = write_jsonl(NEEDY[name][0])
    before, first = hashlib.sha256(path.read_bytes()).digest(), check(path)
    mended = check(path, repairs=[name])
    again = check(path)
    assert hashlib.sha256(path.read_bytes()).digest() == before
    assert again.to_json() == first.to_json() != mended.to_json()
    assert list(again.mapped_rows) == list(first.mapped_rows)


def test_nothing_is_mended_unless_it_is_asked_for(write_jsonl):
    rows = [LONG, LONG, NEAR, {"question": " q ", "answer": "a\n"}]
    assert contents(check(write_jsonl(rows))) == pairs(rows)


def test_all_repairs_together_do_what_each_does(write_jsonl):
    rows = [*GOOD, LONG, {"question": "q"}, {"question": 7, "answer": " x "}, LONG, NEAR]
    report = check(write_jsonl(rows), repairs=REPAIRS)
    assert report.ok
    assert contents(report) == pairs([*GOOD, LONG, {"question": "7", "answer": "x"}])
    assert {name: count.done for name, count in report.repairs.items()} == {
        "skip_bad_rows": 1,
        "numbers_to_text": 1,
        "relocate_answers": 0,
        "strip": 1,
        "leave_out_parts": 0,
        "keep_good_answers": 0,
        "drop_duplicates": 1,
        "drop_near_duplicates": 1,
    }
    assert [report.mapped_rows.number(index) for index in range(len(report.mapped_rows))] == [*range(1, 14), 15]


def test_bad_rows_that_are_left_out_become_warnings_that_say_so(write_file):
    lines = [json.dumps(row) for row in (*GOOD, {"question": "q"}, {"question": "r", "answer": 7})]
    path = write_file("rows.jsonl", "\n".join([*lines, "{oops", '{"question": "\\ud800", "answer": "a"}']))
    plain, report = check(path), check(path, repairs=["skip_bad_rows"])
    assert (plain.ok, plain.counts.errors, report.ok, report.counts.errors) == (False, 4, True, 0)
    assert (report.rows, len(report.mapped_rows)) == (len(GOOD) + 4, len(GOOD))
    assert contents(report) == contents(plain) == pairs(GOOD)
    left_out = [problem for problem in report.problems if problem.row]
    errors = [problem for problem in plain.problems if problem.row]
    assert {problem.severity for problem in left_out} == {"warning"}
    assert [problem.problem for problem in left_out] == [f"Skipped: {problem.problem}" for problem in errors]
    assert [(each.row, each.line, each.column) for each in left_out] == [
        (each.row, each.line, each.column) for each in errors
    ]


def test_file_of_nothing_but_bad_rows_is_not_made_good_by_leaving_them_out(write_jsonl):
    report = check(write_jsonl([{"question": "q", "answer": None}] * 5), repairs=["skip_bad_rows"])
    assert not report.ok
    assert "no usable row" in report.all_problems.first_error.problem


def test_column_that_nobody_found_is_an_error_all_the_same(write_jsonl):
    assert not check(write_jsonl([{"foo": "a", "bar": "b"}] * 5), repairs=["skip_bad_rows"]).ok


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
def test_numbers_become_text_as_they_are_written(tmp_path, suffix):
    path = tmp_path / f"rows.{suffix}"
    rows = [f'{{"question": "question {n}", "answer": "answer {n}"}}' for n in range(20)]
    rows.append('{"question": 1.10, "answer": 123456789012345678901234567890}')
    if suffix == "jsonl":
        path.write_text("\n".join(rows))
    elif suffix == "json":
        path.write_text(f"[{', '.join(rows)}]")
    elif suffix == "csv":
        path.write_text("question,answer\n1.10,123456789012345678901234567890\nq,a\n")
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({"question": [1.5, 2.25], "answer": [2**62, 7]}), path)
    report = check(path, repairs=["numbers_to_text"])
    assert report.ok
    wanted = ("2.25", "7") if suffix == "parquet" else ("1.10", "123456789012345678901234567890")
    assert wanted in contents(report)


@pytest.mark.parametrize("value", [True, None, [1], {"a": 1}])
def test_what_is_no_number_is_not_turned_into_text(write_jsonl, value):
    report = check(write_jsonl([*GOOD, {"question": "q", "answer": value}]), repairs=["numbers_to_text"])
    assert (report.ok, report.repairs["numbers_to_text"]) == (False, RepairCount(0, 0))


def test_numbers_inside_of_turns_become_text(write_jsonl):
    chats = [[{"from": "human", "value": f"{n} and {n}?"}, {"from": "gpt", "value": n}] for n in range(20)]
    report = check(write_jsonl({"conversations": chat} for chat in chats), repairs=["numbers_to_text"])
    assert report.ok
    assert report.mapped_rows[7]["messages"][1]["content"] == "7"


def test_numbers_of_a_tool_stay_numbers(write_jsonl):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"minimum": 3, "maximum": 2.5}}}
    call = {"type": "function", "function": {"name": "f", "arguments": {"days": 3, "id": 12345678901234567890}}}
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    chat += [{"role": "tool", "content": 4}, {"role": "assistant", "content": "a"}]
    chats = [[{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": f"a{n}"}] for n in range(20)]
    rows = [*({"messages": each, "tools": []} for each in chats), {"messages": chat, "tools": [tool]}]
    report = check(write_jsonl(rows), repairs=["numbers_to_text"])
    assert report.ok
    row = report.mapped_rows[-1]
    assert json.dumps(row["tools"]) == json.dumps([tool])
    assert json.dumps(row["messages"][1]["tool_calls"]) == json.dumps([call])


@pytest.mark.parametrize("number", ["1e999", "-1e999", "7" * 5000])
def test_number_of_a_tool_that_no_computer_holds_is_an_error_of_its_row_or_comes_through(write_file, number):
    chat = '{"messages": [{"role": "user", "content": "q%d"}, {"role": "assistant", "content": "a%d"}], "tools": [%s]}'
    lines = [chat % (n, n, number if n == 7 else n) for n in range(20)]
    for repairs in ((), ("numbers_to_text",)):
        report = check(write_file("rows.jsonl", "\n".join(lines)), repairs=repairs)
        assert [problem.row for problem in report.problems if problem.row] in ([], [8])
        assert len(list(report.mapped_rows)) == 20 - report.counts.errors
        assert report.ok == (not report.counts.errors)
        if report.ok:
            assert read_rows(prepare(report).id)[7]["tools"] != [None]


@pytest.mark.parametrize(("given", "found"), [(3, 4), (0, 4), (30, 38), (37, 38), (60, 59), (9999, 59), (-5, 4)])
def test_answer_is_relocated_to_the_occurrence_nearest_to_the_given_start(write_jsonl, given, found):
    path = write_jsonl([*SPANS, ask_mill(given)])
    plain, report = check(path), check(path, repairs=["relocate_answers"])
    assert (plain.ok, report.ok) == (False, True)
    assert report.mapped_rows[-1]["answers"] == {"text": ["mill"], "answer_start": [found]}
    assert [problem for problem in report.problems if problem.row] == []


@pytest.mark.parametrize("given", [4, 38, 59])
def test_right_start_is_kept(write_jsonl, given):
    report = check(write_jsonl([*SPANS, ask_mill(given)]), repairs=["relocate_answers"])
    assert report.mapped_rows[-1]["answers"]["answer_start"] == [given]
    assert report.repairs["relocate_answers"] == RepairCount(0, 0)


def test_answer_that_stands_nowhere_is_not_relocated(write_jsonl):
    report = check(write_jsonl([*SPANS, ask_mill(3, "tower")]), repairs=["relocate_answers"])
    assert not report.ok
    assert report.repairs["relocate_answers"] == RepairCount(0, 0)


def test_white_space_goes_around_texts_and_stays_inside_of_them(write_jsonl):
    rows = [*GOOD, {"question": "\n a  b\n\nc \t", "answer": "\u00a0 d\u2003"}]
    assert contents(check(write_jsonl(rows)))[-1] == ("\n a  b\n\nc \t", "\u00a0 d\u2003")
    assert contents(check(write_jsonl(rows), repairs=["strip"]))[-1] == ("a  b\n\nc", "d")


def test_white_space_goes_in_turns_too(write_jsonl):
    chats = [[{"role": "user", "content": f" q{n}"}, {"role": "assistant", "content": f"a{n}\n"}] for n in range(20)]
    report = check(write_jsonl({"messages": chat} for chat in chats), repairs=["strip"])
    assert contents(report) == [(f"q{n}", f"a{n}") for n in range(20)]
    assert report.repairs["strip"].done == 40


def test_of_rows_that_are_the_same_the_first_is_kept(write_jsonl):
    report = check(write_jsonl([GOOD[0], LONG, GOOD[1], LONG, GOOD[0], NEAR]), repairs=["drop_duplicates"])
    assert contents(report) == pairs([GOOD[0], LONG, GOOD[1], NEAR])
    assert [report.mapped_rows.number(index) for index in range(4)] == [1, 2, 3, 6]
    assert report.counts.duplicates == 0


def test_rows_become_the_same_by_stripping_and_are_dropped_then(write_jsonl):
    rows = [*GOOD, LONG, LONG | {"answer": f" {LONG['answer']}\n"}]
    assert check(write_jsonl(rows), repairs=["drop_duplicates"]).repairs["drop_duplicates"].done == 0
    report = check(write_jsonl(rows), repairs=["drop_duplicates", "strip"])
    assert report.repairs["drop_duplicates"].done == 1
    assert contents(report) == pairs([*GOOD, LONG])


def test_of_rows_that_are_nearly_the_same_the_first_is_kept(write_jsonl):
    rows = [NEAR, *GOOD, LONG, SAME_WORDS]
    report = check(write_jsonl(rows), repairs=["drop_near_duplicates"])
    assert contents(report) == pairs([NEAR, *GOOD])
    assert not [problem for problem in report.problems if "nearly" in problem.problem]


def test_no_row_like_a_kept_one_is_left_when_near_duplicates_are_dropped(write_jsonl):
    report = check(write_jsonl([*GOOD, LONG, NEAR, NEAR, SAME_WORDS]), repairs=["drop_near_duplicates"])
    assert contents(report) == pairs([*GOOD, LONG])


def test_row_that_would_conflict_is_not_warned_about_once_it_is_dropped(write_jsonl):
    path = write_jsonl([*GOOD, LONG, NEAR])
    assert [problem for problem in check(path).problems if "another answer" in problem.problem]
    mended = check(path, repairs=["drop_near_duplicates"])
    assert not [problem for problem in mended.problems if "another answer" in problem.problem]


@pytest.mark.parametrize("name", REPAIRS)
def test_dataset_says_what_was_mended_and_how_often(write_jsonl, name):
    rows, amount = NEEDY[name]
    report = check(write_jsonl(rows), repairs=[name, "skip_bad_rows"])
    dataset = prepare(report)
    assert dataset.repairs == {name: amount}
    assert (dataset.rows, dataset.file_rows) == (len(report.mapped_rows), len(rows))
    assert read_manifest(dataset.id) == dataset
    assert read_rows(dataset.id) == list(report.mapped_rows)


def test_dataset_of_a_file_that_needed_nothing_says_so(write_jsonl):
    assert prepare(check(write_jsonl(GOOD), repairs=REPAIRS)).repairs == {}


def test_unknown_repair_is_refused_with_those_there_are(write_jsonl):
    with pytest.raises(DatasetError, match=r"no repair 'magic'") as caught:
        check(write_jsonl(GOOD), repairs=["strip", "magic"])
    assert caught.value.fix == f"The repairs are: {', '.join(REPAIRS)}."
