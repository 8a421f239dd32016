"""Curves: no spike is lost, ticks are round, odd values do no harm, runs differ without colour, and only changed lines are drawn again."""

from __future__ import annotations

import math
import time
from typing import Any

from finetui.tui.glyphs import ASCII, UNICODE, Glyphs, bar, spark
from finetui.tui.widgets.braille import Canvas, Window, draw_line, draw_points, draw_range
from finetui.tui.widgets.curves import Curve, Picture
from finetui.tui.widgets.plot import Plot, Slice
from finetui.tui.widgets.series import Series
from finetui.tui.widgets.ticks import log_ticks, tick_label, ticks
from finetui.tui.widgets.view import View
from support.tui import BareApp, painted
from textual.app import ComposeResult
from textual.geometry import Region


def series(xs: range | list[float], *ys: float) -> Series:
    """Points; as many values as places, or one for all."""
    made = Series()
    for number, x in enumerate(xs):
        made.add(x, ys[number] if len(ys) > 1 else ys[0])
    return made


def falling(count: int, by: float = 100.0) -> Series:
    """3 − step ⁄ 100."""
    return series(range(1, count + 1), *(3.0 - step / by for step in range(1, count + 1)))


def test_columns_keep_the_extremes() -> None:
    ys = [1.0] * 1000
    ys[503], ys[504] = 9.0, -3.0
    found = series(range(1000), *ys).columns(0, 999, 50)
    extents = [extent for extent in found if extent]
    assert len(extents) == 50
    assert max(high for _, high in extents) == 9.0
    assert min(low for low, _ in extents) == -3.0


def test_what_is_not_finite_is_left_out() -> None:
    found = series([0, 1, 2, 3], 1.0, math.nan, math.inf, 2.0)
    assert found.columns(0, 3, 4) == [(1.0, 1.0), None, None, (2.0, 2.0)]


def test_average_does_not_lag_and_forgets_what_is_taken_back() -> None:
    line = series(range(400), *map(float, range(400)))
    before = line.smoothed(0, 399, 80, 1 / 40)
    assert all(abs(x - y) < 1e-6 for x, y in before[8:-8])
    for extra in (399, 400, 401):
        line.add(extra, 7.0)
    line.add(399, 399.0)
    assert line.smoothed(0, 399, 80, 1 / 40) == before and len(line) == 400


def test_an_exploded_value_does_not_spoil_the_average_of_what_follows() -> None:
    line = series(range(1000), *([1.0] * 100), 1e30, *([1.0] * 899))
    assert abs(line.mean(800, 10) - 1.0) < 1e-3


def test_smoothing_grows_with_its_strength() -> None:
    line = series(range(1000), *(float(step % 2) for step in range(1000)))
    spreads = []
    for share in (0.0, 1 / 160, 1 / 40, 1 / 10):
        values = [y for _, y in line.smoothed(100, 900, 200, share)]
        spreads.append(max(values) - min(values))
    assert spreads == sorted(spreads, reverse=True) and spreads[0] == 1.0 and spreads[3] < 0.02


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0.9, 3.1, 5) == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert ticks(1, 1200, 6) == [200, 400, 600, 800, 1000, 1200]
    assert ticks(2.0, 2.0, 5) == [2.0]
    assert log_ticks(1e-6, 2e-2, 8) == [1e-6, 1e-5, 1e-4, 1e-3, 1e-2]
    assert log_ticks(0.9, 60, 6) == [1, 2, 5, 10, 20, 50]


def test_labels_are_those_that_people_write() -> None:
    assert [tick_label(tick, 0.5) for tick in (0.0, 0.5, 1.0)] == ["0.0", "0.5", "1.0"]
    assert [tick_label(tick, 5e-5) for tick in (0.0, 5e-5, 1e-4, 1.5e-4)] == ["0", "5e-5", "1e-4", "1.5e-4"]
    assert [tick_label(tick, 200) for tick in (800, 1000, 1200)] == ["800", "1k", "1.2k"]
    assert [tick_label(tick, tick) for tick in (1e-5, 1e-3, 0.1, 10, 1e6)] == ["1e-5", "0.001", "0.1", "10", "1M"]
    assert tick_label(12000, 2000) == "12k" and tick_label(3.5e6, 5e5) == "3.5M" and tick_label(1.2005, 5e-4) == "1.2005"
    assert tick_label(1e30, 5e29) == "1e30"


def test_line_is_joined_and_later_layers_win() -> None:
    canvas, window = Canvas(10, 4), Window(0, 9, 0, 1)
    draw_range(canvas, series([0, 9], 0.0, 1.0), window, "raw")
    draw_points(canvas, series([9], 1.0), window, "o", "eval")
    rows = [canvas.row(y) for y in range(4)]
    assert rows[0][-1] == ("o", "eval")
    assert sum(text.count(" ") < len(text) for row in rows for text, _ in row) >= 4


def test_a_line_to_far_outside_is_cut_at_the_edge() -> None:
    canvas = Canvas(10, 4)
    began = time.process_time()
    draw_line(canvas, [(-1e9, 0.5), (5, 0.5), (1e12, 0.5)], Window(0, 9, 0, 1), "line")
    assert time.process_time() - began < 0.1
    assert all(any(canvas.dots[row][column] for row in range(4)) for column in range(10))


def test_ascii_draws_no_other_characters() -> None:
    canvas = Canvas(10, 4, braille=False)
    draw_line(canvas, [(0, 0.0), (9, 1.0)], Window(0, 9, 0, 1), "mean")
    assert all(text.isascii() for y in range(4) for text, _ in canvas.row(y))
    assert bar(0.5, 4, ASCII).isascii() and spark([1, 2], 4, ASCII).isascii()
    assert bar(0.5, 4, UNICODE) == "▇▇░░" and spark([0, math.nan, 1], 3) == "▁ █"


def test_a_view_zooms_about_the_cursor_and_follows_the_newest_in_jumps() -> None:
    view = View()
    assert view.steps(1, 1000) == (1, 1025)
    view.zoom(0.5, 1, 1000)
    assert view.end is None and view.steps(1, 1000)[1] >= 1000
    windows = {view.steps(1, last) for last in range(1000, 1060)}
    assert len(windows) <= 2, "not a new picture at every step"
    view.cursor = 600
    view.zoom(0.25, 1, 1000)
    low, high = view.steps(1, 1000)
    assert low < 600 < high and abs((low + high) / 2 - 600) < 1
    view.pan(-0.5, 1, 1000)
    assert view.steps(1, 1000)[0] < low
    view.move_cursor(5, 1, 1000)
    low, high = view.steps(1, 1000)
    assert low <= 5 <= high, "the view goes with the cursor"
    view.zoom(100, 1, 1000)
    assert view.steps(1, 1000) == (1, 1025)


class PlotApp(BareApp):
    glyphs: Glyphs = UNICODE

    def compose(self) -> ComposeResult:
        yield Plot(id="plot", glyphs=self.glyphs)


async def test_plot_paints_axes_and_draws_only_changed_lines() -> None:
    async with PlotApp().run_test(size=(80, 20)) as pilot:
        plot = pilot.app.query_one(Plot)
        assert "waiting for the first step" in painted(pilot.app)
        curve = Curve(0, "one", falling(194), series([100], 2.5))
        plot.put(Picture([curve], "Loss", raw=True))
        await pilot.pause()
        text = painted(pilot.app)
        assert "3.0┤" in text and "○" in text and " 100 " in text and "average" in text and "evaluation" in text
        asked: list[tuple[int, int]] = []
        for number, part in enumerate(plot.query(Slice)):
            original = part.refresh

            def refresh(*regions: Region, number: int = number, original: Any = original, **options: Any) -> Any:
                asked.extend((number, region.y) for region in regions)
                return original(*regions, **options)

            part.refresh = refresh  # type: ignore[method-assign]
        plot.show()
        assert asked == []
        for step in range(195, 203):
            curve.series.add(step, 1.1)
        plot.show()
        assert 0 < len(asked) <= 6 and {number for number, _ in asked} == {3}, "only the end of the curve"
        await pilot.press("left", "left")
        asked.clear()
        curve.series.add(203, 1.1)
        plot.show()
        assert len(asked) <= 6, "with a cursor, too"


async def test_plot_survives_odd_values_and_tiny_sizes() -> None:
    for size in ((5, 2), (17, 5), (200, 60)):
        async with PlotApp().run_test(size=size) as pilot:
            plot = pilot.app.query_one(Plot)
            odd = series(range(6), math.nan, math.inf, 1.0, 1.0, -math.inf, 1e30)
            plot.put(Picture([Curve(0, "one", odd)], raw=True))
            await pilot.press("left", "plus", "e", "t", "less_than_sign", "0")
            await pilot.pause()


async def test_a_logarithmic_axis_says_where_there_is_nothing_to_show() -> None:
    async with PlotApp().run_test(size=(80, 20)) as pilot:
        plot = pilot.app.query_one(Plot)
        plot.put(Picture([Curve(0, "one", series([1, 2, 3], 0.0, 0.0, 0.0))]))
        await pilot.press("e")
        assert "no value above 0" in painted(pilot.app)
        plot.put(Picture([Curve(0, "one", series([1, 2, 3], 0.0, 1e-5, 1e-2))]))
        await pilot.pause()
        text = painted(pilot.app)
        assert "1e-5┤" in text and "1e-4┤" in text and "0.01┤" in text and "(log)" in text


async def test_letters_end_the_curves_and_never_hide_one_another() -> None:
    async with PlotApp().run_test(size=(80, 20)) as pilot:
        plot = pilot.app.query_one(Plot)
        plot.put(Picture([Curve(number, f"run {number}", falling(100)) for number in range(3)]))
        await pilot.pause()
        assert any({"a", "b", "c"} <= set(line.rstrip()[-3:]) for line in painted(pilot.app).splitlines())
        plot.put(Picture([Curve(0, "one", series([1], math.nan))]))
        await pilot.pause()
        assert "waiting for the first step" in painted(pilot.app)


async def test_runs_differ_without_colour_by_dashes_or_by_letters() -> None:
    curves = [Curve(number, f"run {number}", series(range(100), 1.0 + number)) for number in range(3)]
    for glyphs in (UNICODE, ASCII):
        app = PlotApp()
        app.glyphs = glyphs
        async with app.run_test(size=(80, 20)) as pilot:
            app.query_one(Plot).put(Picture(curves, "Loss", smooth=False))
            await pilot.pause()
            head, *lines = painted(app).splitlines()
            assert "a" in head and "run 2" in head
            drawn = [line.partition(glyphs.axis_line)[2] or line.partition(glyphs.axis)[2] for line in lines[:-2]]
            drawn = [line.strip() for line in drawn if len(line.strip()) > 40]
            assert len(drawn) == 3 and len({line.count(" ") for line in drawn}) == 3
            if glyphs is ASCII:
                assert [set(line) - {" "} for line in drawn] == [{"c"}, {"b"}, {"a"}]


async def test_cursor_reads_out_every_curve_and_the_mouse_puts_it() -> None:
    async with PlotApp().run_test(size=(100, 20)) as pilot:
        plot = pilot.app.query_one(Plot)
        plot.put(Picture([Curve(0, "one", falling(50)), Curve(1, "two", series(range(1, 21), 5.0))], "Loss"))
        await pilot.press("left")
        assert "step 50" in painted(pilot.app) and "b -" in painted(pilot.app)
        await pilot.press("home")
        assert "step 1  " in painted(pilot.app) and "b 5.000" in painted(pilot.app)
        await pilot.click(Plot, offset=(99, 8))
        assert "step 50" in painted(pilot.app)
        await pilot.press("escape")
        assert plot.view.cursor is None and "step 50" not in painted(pilot.app)


async def test_ten_thousand_points_are_drawn_in_milliseconds() -> None:
    async with PlotApp().run_test(size=(120, 30)) as pilot:
        plot = pilot.app.query_one(Plot)
        many = series(range(10_000), *(1.0 + math.sin(step / 50) for step in range(10_000)))
        plot.picture = Picture([Curve(0, "one", many)], raw=True)
        began = time.process_time()
        for _ in range(5):
            plot._draw(120, 30)
        assert (time.process_time() - began) / 5 < 0.05
