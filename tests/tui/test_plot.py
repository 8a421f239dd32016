"""The curve: no spike is lost, ticks are round, odd values do no harm, and only changed lines are drawn again."""

from __future__ import annotations

import math
import time

from finetui.tui.glyphs import ASCII, UNICODE, bar, spark
from finetui.tui.widgets.braille import Canvas, Series, Smoothed, Window, columns, draw, tick_label, ticks
from finetui.tui.widgets.plot import LossPlot
from support.tui import BareApp
from textual.app import ComposeResult


def test_columns_keep_the_extremes() -> None:
    ys = [1.0] * 1000
    ys[503], ys[504] = 9.0, -3.0
    found = columns([float(x) for x in range(1000)], ys, Window(0, 999, -3, 9), 50)
    extents = [extent for extent in found if extent]
    assert len(extents) == 50
    assert max(high for _, high in extents) == 9.0
    assert min(low for low, _ in extents) == -3.0


def test_columns_leave_out_what_is_not_finite() -> None:
    found = columns([0, 1, 2, 3], [1.0, math.nan, math.inf, 2.0], Window(0, 3, 0, 3), 4)
    assert found == [(1.0, 1.0), None, None, (2.0, 2.0)]


def test_average_does_not_lag_and_forgets_what_is_taken_back() -> None:
    line = Smoothed()
    for step in range(400):
        line.add(step, float(step))
    window = Window(0, 399, 0, 400)
    xs, ys = line.curve(window, 80)
    assert len(xs) == 80 and all(abs(x - y) < 1e-6 for x, y in list(zip(xs, ys))[8:-8])
    line.add(400, math.nan)
    line.pop()
    assert line.curve(window, 80) == (xs, ys)


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0.9, 3.1, 5) == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert ticks(1, 1200, 6) == [200, 400, 600, 800, 1000, 1200]
    assert ticks(2.0, 2.0, 5) == [2.0]
    assert [tick_label(tick, 0.5) for tick in (0.0, 0.5)] == ["0.0", "0.5"]
    assert tick_label(12000, 2000) == "12k"


def test_line_is_joined_and_later_layers_win() -> None:
    canvas = Canvas(10, 4)
    draw(canvas, Series("raw", "range", [0, 9], [0.0, 1.0]), Window(0, 9, 0, 1), "o")
    draw(canvas, Series("eval", "points", [9], [1.0]), Window(0, 9, 0, 1), "o")
    rows = [canvas.row(y) for y in range(4)]
    assert rows[0][-1] == ("o", "eval")
    assert sum(text.count(" ") < len(text) for row in rows for text, _ in row) >= 4


def test_ascii_draws_no_other_characters() -> None:
    canvas = Canvas(10, 4, braille=False)
    draw(canvas, Series("mean", "line", [0, 9], [0.0, 1.0]), Window(0, 9, 0, 1), "o")
    assert all(text.isascii() for y in range(4) for text, _ in canvas.row(y))
    assert bar(0.5, 4, ASCII).isascii() and spark([1, 2], 4, ASCII).isascii()
    assert bar(0.5, 4, UNICODE) == "▇▇░░"


class PlotApp(BareApp):
    def compose(self) -> ComposeResult:
        yield LossPlot(id="plot")


async def test_plot_paints_axes_and_draws_only_changed_lines() -> None:
    async with PlotApp().run_test(size=(80, 20)) as pilot:
        plot = pilot.app.query_one(LossPlot)
        assert "waiting for the first step" in "".join(strip.text for strip in pilot.app.screen._compositor.render_strips())
        for step in range(1, 195):
            plot.add(step, 3.0 - step / 100)
        plot.add_evaluation(100, 2.5)
        plot.show()
        await pilot.pause()
        text = "\n".join(strip.text for strip in pilot.app.screen._compositor.render_strips())
        assert "3.0┤" in text and "○" in text and " 100 " in text
        asked: list[int] = []
        original = plot.refresh

        def refresh(*regions: object, **options: object) -> object:
            asked.append(len(regions))
            return original(*regions, **options)  # type: ignore[arg-type]

        plot.show()  # the first time after the size is known
        plot.refresh = refresh  # type: ignore[method-assign]
        plot.show()
        assert asked == []
        for step in range(195, 203):
            plot.add(step, 1.1)
        plot.show()
        assert 0 < asked[0] <= 6, "only the end of the curve"


async def test_plot_takes_back_what_a_resumed_attempt_trains_again() -> None:
    async with PlotApp().run_test(size=(80, 20)) as pilot:
        plot = pilot.app.query_one(LossPlot)
        for step in [*range(1, 11), *range(6, 8)]:
            plot.add(step, float(step))
        assert plot.raw.xs == [1, 2, 3, 4, 5, 6, 7]
        assert plot.smoothed.xs == plot.raw.xs


async def test_plot_survives_odd_values_and_tiny_sizes() -> None:
    for size in ((5, 2), (17, 5), (200, 60)):
        async with PlotApp().run_test(size=size) as pilot:
            plot = pilot.app.query_one(LossPlot)
            for step, loss in enumerate([math.nan, math.inf, 1.0, 1.0, -math.inf, 1e30]):
                plot.add(step, loss)
            plot.show()
            await pilot.pause()


async def test_ten_thousand_points_are_drawn_in_milliseconds() -> None:
    async with PlotApp().run_test(size=(120, 30)) as pilot:
        plot = pilot.app.query_one(LossPlot)
        for step in range(10_000):
            plot.add(step, 1.0 + math.sin(step / 50))
        began = time.process_time()
        for _ in range(5):
            plot._draw(120, 30)
        assert (time.process_time() - began) / 5 < 0.05
