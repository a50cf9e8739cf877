"""Events on their way from the trainer to whoever looks: no viewer is waited for, and all see the same."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy
import psutil
import pytest

from modelforge.runs import feed as feeds
from modelforge.runs.feed import Feed, Pump, read_events


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def steps(events: list[dict[str, Any]]) -> list[int]:
    return [event["step"] for event in events]


def progress(*numbers: int) -> list[dict[str, Any]]:
    return [{"type": "progress", "step": number} for number in numbers]


def test_cursor_gives_each_event_once(path: Path) -> None:
    feed = Feed(path)
    assert feed.since(0) == ([], 0)
    feed.append(progress(1, 2))
    events, cursor = feed.since(0)
    assert (steps(events), cursor) == ([1, 2], 2)
    assert feed.since(cursor) == ([], 2)
    feed.append(progress(3))
    events, cursor = feed.since(cursor)
    assert (steps(events), cursor) == ([3], 3)


@pytest.mark.parametrize("cursor", [-5, 7, 10_000])
def test_cursor_from_elsewhere_is_harmless(path: Path, cursor: int) -> None:
    feed = Feed(path)
    feed.append(progress(1, 2))
    events, back = feed.since(cursor)
    assert steps(events) == ([1, 2] if cursor < 0 else [])
    assert back == 2


def test_late_viewer_sees_events_that_memory_no_longer_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "RECENT", 5)
    feed = Feed(path)
    for number in range(20):
        feed.append(progress(number))
    for cursor in range(21):
        events, back = feed.since(cursor)
        assert (steps(events), back) == (list(range(cursor, 20)), 20)


def test_feed_opened_later_continues_from_the_file(path: Path) -> None:
    Feed(path).append([*progress(1, 2), {"type": "finished", "model_id": "Größe ✓ \u2028"}])
    again = Feed(path)
    assert again.since(0)[1] == 3
    assert again.latest["progress"]["step"] == 2
    assert again.latest["finished"]["model_id"] == "Größe ✓ \u2028"


@pytest.mark.parametrize("missing_bytes", range(1, 30))
def test_last_line_cut_by_a_crash_is_left_out(path: Path, missing_bytes: int) -> None:
    Feed(path).append([*progress(1), {"type": "sampled", "step": 2, "answer": "Größe ✓✓✓✓✓"}])
    path.write_bytes(path.read_bytes()[:-missing_bytes])  # also inside a character
    assert steps(list(read_events(path))) == [1]
    assert Feed(path).since(0)[1] == 1


def test_broken_line_in_the_middle_does_not_hide_the_others(path: Path) -> None:
    lines = [json.dumps(event) for event in progress(1, 2)]
    path.write_bytes(f'{lines[0]}\n{{"type": "progre{lines[1]}\n[]\n\n\xff\n{lines[1]}\n'.encode("latin-1"))
    assert steps(list(read_events(path))) == [1, 2]


def test_wait_returns_as_soon_as_there_is_more(path: Path) -> None:
    feed = Feed(path)
    threading.Timer(0.1, feed.append, (progress(1),)).start()
    assert feed.wait(0, 1000.0)  # the test's own limit ends one that waits to the end
    assert feed.wait(1, 0.01) is False


def test_pump_writes_and_shows_everything_in_order(path: Path) -> None:
    pump, feed = Pump(), Feed(path)
    emit = pump.emitter(feed, "run-1")
    for number in range(500):
        emit("progress", step=number)
    pump.flush()
    events, _ = feed.since(0)
    assert steps(events) == list(range(500))
    assert list(read_events(path)) == events
    assert all(event["run_id"] == "run-1" and event["time"].endswith("+00:00") for event in events)


def test_emitting_does_not_wait_for_a_slow_disk_or_a_viewer(path: Path) -> None:
    disk = threading.Event()

    class SlowFeed(Feed):
        def append(self, events: list[dict[str, Any]]) -> None:
            disk.wait()
            super().append(events)

    pump, feed = Pump(), SlowFeed(path)
    emit = pump.emitter(feed, "run-1")
    viewer = threading.Thread(target=lambda: feed.wait(10_000, 0.5))  # waits for what will not come
    viewer.start()
    for number in range(200):
        emit("progress", step=number)
    assert feed.since(0)[1] == 0
    disk.set()
    pump.flush()
    assert feed.since(0)[1] == 200
    viewer.join()


def test_many_viewers_see_the_same_events(path: Path) -> None:
    pump, feed = Pump(), Feed(path)
    emit = pump.emitter(feed, "run-1")
    seen: list[list[int]] = [[] for _ in range(8)]

    def view(number: int) -> None:
        cursor = 0
        while cursor < 300:
            feed.wait(cursor, 1.0)
            events, cursor = feed.since(cursor)
            seen[number] += steps(events)

    viewers = [threading.Thread(target=view, args=(number,)) for number in range(8)]
    for viewer in viewers:
        viewer.start()
    for number in range(300):
        emit("progress", step=number)
    for viewer in viewers:
        viewer.join(20)
    assert seen == [list(range(300))] * 8


def test_two_runs_keep_their_events_apart(tmp_path: Path) -> None:
    pump = Pump()
    pair = [Feed(tmp_path / f"{name}.jsonl") for name in "ab"]
    emitters = [pump.emitter(feed, f"run-{number}") for number, feed in enumerate(pair)]
    for number in range(100):
        emitters[number % 2]("progress", step=number)
    pump.flush()
    assert [steps(feed.since(0)[0]) for feed in pair] == [list(range(0, 100, 2)), list(range(1, 100, 2))]


def test_events_that_cannot_be_written_are_still_shown_and_the_pump_lives(tmp_path: Path) -> None:
    pump, lost, kept = Pump(), Feed(tmp_path / "no such folder" / "events.jsonl"), Feed(tmp_path / "events.jsonl")
    pump.emitter(lost, "run-1")("progress", step=1)
    pump.emitter(kept, "run-2")("progress", step=2)
    pump.flush()
    assert steps(lost.since(0)[0]) == [1]
    assert steps(list(read_events(kept.path))) == [2]


def test_file_name_that_is_no_text_is_written_all_the_same(path: Path) -> None:
    pump, feed = Pump(), Feed(path)
    pump.emitter(feed, "run-1")("failed", where="caf\udce9.csv")  # a byte that is not UTF-8, as Python carries it
    pump.flush()
    assert [event["where"] for event in read_events(path)] == ["caf\udce9.csv"]


class Unprintable:
    def __repr__(self) -> str:
        raise ZeroDivisionError("no text")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Path("/some/file"), "/some/file"),
        (numpy.float32(0.5), 0.5),
        (numpy.arange(2), [0, 1]),
        ({7}, [7]),
        (Unprintable(), "(Unprintable)"),
        ({(1, 2): 3}, "(dict)"),
    ],
    ids=["path", "numpy number", "array", "set", "object without text", "key that is not text"],
)
def test_fault_09_event_that_json_cannot_hold_does_not_end_the_pump(path: Path, value: Any, written: Any) -> None:
    pump, feed = Pump(), Feed(path)
    emit = pump.emitter(feed, "run-1")
    emit("warning", step=1, value=value)
    emit("progress", step=2)
    flushed = threading.Thread(target=pump.flush, daemon=True)
    flushed.start()
    flushed.join(10)
    assert not flushed.is_alive(), "flush waits for ever"
    events, _ = feed.since(0)
    assert [(event["step"], event.get("value")) for event in events] == [(1, written), (2, None)]
    assert list(read_events(path)) == events


@pytest.mark.parametrize("missing_bytes", [1, 5, 12])
def test_fault_09_first_event_after_a_torn_line_is_kept(path: Path, missing_bytes: int) -> None:
    Feed(path).append(progress(1, 2))
    path.write_bytes(path.read_bytes()[:-missing_bytes])
    feed = Feed(path)
    feed.append(progress(3))
    feed.append(progress(4))
    events, count = feed.since(0)
    assert steps(events) == ([1, 2, 3, 4] if missing_bytes == 1 else [1, 3, 4])  # of line 2 only its end was lost
    assert (list(read_events(path)), Feed(path).since(0)) == (events, (events, count))


def test_fault_04_feed_follows_its_file_whoever_writes_it(path: Path) -> None:
    """As a viewer in the app holds it while another process trains, and then this one."""
    held, theirs = Feed(path), Feed(path)
    cursor = 0
    for number in range(1, 9):
        (theirs if number < 5 else held).append(progress(number))
        events, cursor = held.since(cursor)
        assert (steps(events), cursor, held.latest["progress"]["step"]) == ([number], number, number)
    assert theirs.since(4)[0] == held.since(4)[0]


def test_line_that_another_process_has_half_written_is_read_once_it_is_whole(path: Path) -> None:
    feed, line = Feed(path), json.dumps(progress(1)[0]) + "\n"
    for part in (line[:9], line[9:]):
        assert feed.since(0) == ([], 0)
        with path.open("a") as file:
            file.write(part)
    assert steps(feed.since(0)[0]) == [1]


@pytest.mark.slow
def test_million_events_without_a_viewer_take_no_memory_and_one_that_comes_late_sees_them_all(tmp_path: Path) -> None:
    pump, feed = Pump(), Feed(tmp_path / "events.jsonl")
    emit = pump.emitter(feed, "run-0")
    process = psutil.Process()

    def put(first: int, behind: int) -> None:
        for step in range(first, behind):
            emit("progress", step=step, loss=1.0 / (step + 1), tokens=step * 100)
            if step % 10_000 == 0:
                pump.flush()  # no training is so fast that the pump could not keep up

    put(0, 100_000)
    pump.flush()
    before = process.memory_info().rss
    put(100_000, 1_000_000)
    pump.flush()
    assert process.memory_info().rss - before < 30_000_000
    seen, cursor = feed.since(0)
    assert cursor == 1_000_000
    assert [event["step"] for event in seen] == list(range(1_000_000))
