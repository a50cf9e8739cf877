"""The chart of a run: where points are drawn, what the axes show, and that nothing in it is markup from outside."""

from __future__ import annotations

import itertools
import math
import re

from modelforge.ui.look import chart
from modelforge.ui.look.chart import draw, draw_runs


def read_points(svg: str, css: str) -> list[tuple[float, float]]:
    found = re.search(rf'<polyline class="{css}" points="([^"]*)"', svg)
    assert found
    return [(float(x), float(y)) for x, y in (point.split(",") for point in found[1].split())]


def read_axis(svg: str) -> list[float]:
    return [float(value) for value in re.findall(r'text-anchor="end">([^<]*)<', svg)]


def test_without_a_number_there_is_no_chart() -> None:
    assert "<svg" not in draw([], [], 10)
    assert "<svg" not in draw([(1, math.nan)], [(1, math.inf)], 10)


def test_the_axes_hold_zero_and_every_value() -> None:
    for values in ([0.3, 0.98], [2.0, 7.3], [-1.2, 0.4], [-3.0, -2.0], [0.0]):
        svg = draw([(step, value) for step, value in enumerate(values)], [], len(values))
        axis = read_axis(svg)
        assert axis == sorted(axis, reverse=True)
        assert len(axis) == 5
        assert axis[-1] <= min(0.0, *values)
        assert axis[0] >= max(0.0, *values)
        assert 0.0 in axis


def test_points_are_placed_by_step_and_value() -> None:
    svg = draw([(0, 0.0), (5, 1.0), (10, 0.5)], [], 10)
    bottom, right = chart.HEIGHT - chart.BOTTOM, chart.WIDTH - chart.RIGHT
    assert read_points(svg, "mf-loss-raw") == [
        (chart.LEFT, bottom),
        ((chart.LEFT + right) / 2, chart.TOP),
        (right, (chart.TOP + bottom) / 2),
    ]


def test_a_single_point_is_drawn_on_its_own_curve_and_on_the_smoothed_one() -> None:
    svg = draw([(1, 2.0)], [], 1)
    assert read_points(svg, "mf-loss-raw") == read_points(svg, "mf-loss")
    assert "over 1 steps, last 2.000" in svg


def test_a_value_that_is_not_finite_is_left_out() -> None:
    svg = draw([(1, 1.0), (2, math.nan), (3, 0.5), (4, math.inf)], [(4, math.nan), (4, 0.7)], 4)
    assert "nan" not in svg
    assert "inf" not in svg
    assert [len(read_points(svg, css)) for css in ("mf-loss-raw", "mf-loss", "mf-held-out")] == [2, 2, 1]
    assert "last 0.500" in svg


def test_the_smoothed_curve_starts_at_the_first_value_and_moves_a_tenth_of_the_way() -> None:
    smoothed = chart._smoothed([(1, 1.0), (2, 0.0)])
    assert math.isclose(smoothed[0][1], 1.0)
    assert math.isclose(smoothed[1][1], 0.09 / 0.19)


def test_evaluations_are_dots_with_their_value() -> None:
    svg = draw([], [(4, 0.25), (8, 0.125)], 8)
    assert re.findall("<title>([^<]*)</title>", svg) == ["step 4: held-out loss 0.2500", "step 8: held-out loss 0.1250"]


def test_titles_are_text() -> None:
    svg = draw([(1, 1.0)], [], 1, title='"><script>', step_title="<b>", held_out_title="<i>")
    assert not re.search("<script|<b>|<i>", svg)


def test_a_short_run_has_whole_steps_on_its_axis() -> None:
    assert re.findall(r'text-anchor="middle">([^<]*)<', draw([(1, 1.0)], [], 3)) == ["0", "1", "2", "3"]


def test_runs_share_one_chart_and_each_has_its_number() -> None:
    lines = [("<b>", [(100, 2.0), (12_000, 1.0)], [(12_000, math.nan)]), ("none", [], []), ("c", [], [(500, 0.5)])]
    svg = draw_runs(lines, title="Loss", unit="tokens")
    assert "<b>" not in svg and "nan" not in svg
    assert re.findall(r'<text class="mf-run-(\d)"[^>]*>(\d)<', svg) == [("1", "1"), ("3", "3")]
    assert re.findall(r'text-anchor="middle">([^<]*)<', svg) == ["0", "3k", "6k", "9k", "12k"]
    assert re.findall("<title>([^<]*)</title>", svg) == ["3: held out 0.5000 at 500 tokens"]
    assert draw_runs([("a", [], []), ("b", [(1, math.inf)], [])], title="Loss", unit="steps") == ""


def test_chart_of_runs_has_whole_steps_on_its_axis() -> None:
    svg = draw_runs([("a", [(1, 1.0), (3, 1.0)], []), ("b", [(2, 1.0)], [])], title="Loss", unit="steps")
    assert re.findall(r'text-anchor="middle">([^<]*)<', svg) == ["0", "1", "2", "3"]


def test_numbers_of_runs_that_end_alike_do_not_cover_each_other() -> None:
    svg = draw_runs([(str(each), [(1, 10.0 + each / 1000)], []) for each in range(8)], title="Loss", unit="tokens")
    heights = sorted(float(y) for y in re.findall(r'<text class="mf-run-\d" x="[^"]*" y="([^"]*)"', svg))
    assert len(heights) == 8 and all(b - a >= chart.LINE_HEIGHT - 0.1 for a, b in itertools.pairwise(heights))
    assert read_axis(svg)[-1] > 9  # close to the values: runs differ by little
