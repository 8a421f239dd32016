"""A run: the curve is the hero, beside it the figures, below it log, events and samples."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input

from ...core.errors import DiskError, FineTUIError, NotFound
from ..actions import bindings
from ..feed import OtherNews, RunFacts, RunFeed, RunNews
from ..format import clock, duration, human_bytes, percent
from ..glyphs import STATE_STYLES, bar, shorten
from ..histories import QUANTITIES, History
from ..runfigures import narrow_figures, wide_figures
from ..runlines import pair, state_text
from ..runpane import DEVICES, EVENTS, LOG, TABS, all_lines, entries, lines_of
from ..watching import RunRow
from ..widgets.curves import Curve, Picture
from ..widgets.figurelines import FigureLines
from ..widgets.filterline import FilterLine
from ..widgets.loglines import LogLines
from ..widgets.plot import Plot
from ..widgets.ruleline import RuleLine
from ..widgets.steady import Steady
from .artifacts import ArtifactActions
from .base import View


class RunScreen(ArtifactActions, View):
    """The dashboard of one run, alive or ended."""

    SCOPE = "run"
    BINDINGS = bindings("run")

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self.run_id = run_id
        self.facts = RunFacts()
        self.request: dict[str, Any] = {}
        self.kind = "train"
        self.name_of_run = run_id
        self.tab, self.quantity = EVENTS, 0
        self.others: dict[str, tuple[str, History]] = {}
        """Runs drawn over this one: id → name and figures."""
        self._shown = 0
        self._feed: RunFeed | None = None

    def content(self) -> ComposeResult:
        """Curve, figures, and the pane with three tabs."""
        yield RuleLine(id="run-title", glyphs=self.app.glyphs)
        with Horizontal(id="run-columns"):
            with Vertical(id="curve"):
                yield Plot(id="plot", glyphs=self.app.glyphs)
            with Vertical(id="figures"):
                yield FigureLines(id="figure-lines")
        yield Steady(id="trouble", classes="hidden")
        with Vertical(id="run-bottom", classes="pane"):
            yield LogLines(id="log-lines")
            yield FilterLine(id="log-search", placeholder="search: a text in a line")

    def on_mount(self) -> None:
        """Start reading."""
        self._show_tabs()
        self.query_one(Plot).focus()
        self._feed = RunFeed(self.app.home, self.run_id, self.post_message, self._feed_failed)
        self._feed.start()

    def on_unmount(self) -> None:
        """Stop reading; the run goes on."""
        if self._feed is not None:
            self._feed.stop()

    def _feed_failed(self, problem: Exception) -> None:
        """Called in the feed's thread."""
        self.app.call_from_thread(self._cannot_read, problem)

    async def _cannot_read(self, problem: Exception) -> None:
        """Say why in a sentence; of a run that is gone there is nothing to show any more."""
        if isinstance(problem, FileNotFoundError) or (isinstance(problem, NotFound) and self.request):
            error: FineTUIError = NotFound("this run's folder is gone", f"{self.app.home.runs / self.run_id} is not there any more")
        elif isinstance(problem, FineTUIError):
            error = problem
        elif isinstance(problem, OSError):
            error = DiskError(f"this run's files cannot be read: {problem}", "look at the permissions of its folder")
        else:
            error = self.app.unexpected(problem)
        if self.is_current and len(self.app.screen_stack) > 1:
            await self.app.pop_screen()
        self.app.look_again()
        self.app.show_error(error)

    # State ------------------------------------------------------------------------------------------------------------

    def on_run_news(self, news: RunNews) -> None:
        """Fold what is new and show what changed."""
        first = not self.request
        self.request, self.kind, self.name_of_run = news.request, news.spec.kind, news.spec.name
        before = self.facts.state
        self.facts.take(news.update)
        if first:
            self._arrange()
            if self.facts.state in ("failed", "lost"):
                self._switch(LOG)
        if first or news.update.metrics:
            self._show_curves()
        self._show_figures()
        self._show_lines()
        if before != self.facts.state or first:
            self.keys_changed()

    def on_other_news(self, news: OtherNews) -> None:
        """Figures of a run that is drawn over this one."""
        if news.run_id in self.others:
            self.others[news.run_id][1].take(news.lines)
            self._show_curves()

    def runs_changed(self) -> None:
        """The result is known to the list of runs."""
        if self.request and self.facts.ended:
            self._show_figures()

    def on_resize(self) -> None:
        """The figures have two forms, and the log is wrapped to its width."""
        self.call_after_refresh(self._show_figures)
        if self.tab == DEVICES:
            self.call_after_refresh(lambda: self._show_lines(anew=True))

    def _arrange(self) -> None:
        """Runs that train nothing have no curve."""
        if self.kind != "train":
            self.query_one("#curve").add_class("hidden")
            self.query_one("#figures").styles.width = "1fr"
            self.query_one("#run-bottom").add_class("-bare")
            self.query_one(LogLines).focus()

    def _show_curves(self) -> None:
        quantity = QUANTITIES[self.quantity]
        evaluations = self.facts.history["eval_loss"] if quantity.key == "loss" else None
        curves = [Curve(0, self.name_of_run, self.facts.history[quantity.key], evaluations)]
        for number, (name, history) in enumerate(self.others.values(), 1):
            curves.append(Curve(number, name, history[quantity.key]))
        what = "the first step" if quantity.key == "loss" else f"a first {quantity.title.lower()}"
        self.query_one(Plot).put(
            Picture(
                curves,
                quantity.title,
                quantity.write,
                front=0 if self.others else -1,
                raw=True,
                smooth=quantity.smooth,
                waiting=f"there is no {quantity.title.lower()}" if self.facts.ended else f"waiting for {what}",
            )  # fmt: skip
        )

    def _show_figures(self) -> None:
        self._show_title()
        width = self.query_one("#figures").size.width
        if self.kind != "train":
            text = self._plain_figures(width)
        elif self.has_class("-wide"):
            text = wide_figures(self.facts, self.request, self.app.glyphs, width)
        else:
            text = narrow_figures(self.facts, self.request, self.app.glyphs, max(40, width - 2))
        self.query_one(FigureLines).show(text)
        trouble, outcome = self.query_one("#trouble", Steady), self._outcome()
        trouble.set_class(not self.facts.error and not outcome, "hidden")
        if not self.facts.error:
            wrong = self.facts.trouble[0]
            glyph = self.app.glyphs.warning if wrong else self.app.glyphs.states.get(self.facts.state, "")
            said = shorten(f"{glyph} {outcome}", max(20, self.size.width - 2), self.app.glyphs)
            trouble.say(Content.styled(f" {said}", "$warning" if wrong else STATE_STYLES.get(self.facts.state, "$muted")))
        else:
            message, hint = self.facts.error.get("message", ""), self.facts.error.get("hint", "")
            trouble.say(
                Content.assemble((f" {self.app.glyphs.states['failed']} {message}", "$error"), (f"\n   {hint}" if hint else "", "$muted"))
            )

    def _outcome(self) -> str:
        """What a run waits for or suffers from; what can be done with one that has ended well or was stopped."""
        if self.facts.state in ("queued", "starting", "stopping"):
            return self.facts.reason
        if self.facts.trouble[0]:
            return self.facts.trouble[1]
        if self.facts.state == "stopped":
            return f"{self.facts.reason or 'stopped'} {self.app.glyphs.dot} R resumes it"
        result = self._row().result
        if self.facts.state != "succeeded" or not result or self.kind not in ("train", "merge", "push", "pull"):
            return ""
        return f"c chats with the result: {result}" if self.kind == "train" else f"the result is {result}"

    def _plain_figures(self, width: int) -> Content:
        facts, progress = self.facts, self.facts.progress
        lines = [pair("kind", self.kind), pair("state", facts.state), pair("started", clock(facts.started))]
        if progress.get("total"):
            share = progress["done"] / progress["total"]
            lines.append(pair("progress", f"{bar(share, min(40, width - 40), self.app.glyphs)} {percent(share)}  {self._done()}"))
        for key in ("model", "adapter", "repo", "hub", "output"):
            if self.request.get(key):
                lines.append(pair(key, str(self.request[key])))
        return Content("\n").join(lines)

    def _done(self) -> str:
        """How far it is, in the words of its events, bytes with their unit."""
        progress = self.facts.progress
        if progress.get("unit") != "bytes":
            return str(progress["message"])
        return f"{human_bytes(progress['done'])} of {human_bytes(progress['total'])}"

    def _show_title(self) -> None:
        facts, glyphs = self.facts, self.app.glyphs
        where = ""
        if facts.devices:
            names = ", ".join(facts.devices)
            where = f" on {names}" if len(names) < 20 else f" on {len(facts.devices)} devices"
        parts: list[Any] = [
            (self.name_of_run, "bold $foreground"),
            f" {glyphs.dot} ",
            state_text(facts.state, glyphs, facts.trouble[0]),
            (where, "$muted"),
        ]
        if facts.total_steps:
            parts.append((f" {glyphs.dot} {facts.step:,} / {facts.total_steps:,}", "$foreground"))
        if facts.seconds_left is not None:
            parts.append((f" {glyphs.dot} ETA {duration(facts.seconds_left)}", "$foreground"))
        elif facts.finished and facts.started:
            parts.append((f" {glyphs.dot} took {duration(facts.finished - facts.started)}", "$muted"))
        self.query_one("#run-title", RuleLine).say(Content.assemble(*parts))

    # The lower pane ---------------------------------------------------------------------------------------------------

    def _show_tabs(self) -> None:
        names: list[Any] = []
        for index, name in enumerate(TABS):
            names += [(name, "bold underline $foreground" if index == self.tab else "not bold $muted"), "  "]
        self.titled(self.query_one("#run-bottom"), Content.assemble(*names[:-1]), self.query_one(LogLines).status or "[ ] other tab")

    def on_log_lines_told(self) -> None:
        """Where the search is, and whether the newest line is followed."""
        self._show_tabs()

    def _show_lines(self, *, anew: bool = False) -> None:
        pane = self.query_one(LogLines)
        total, kept = entries(self.facts, self.tab)
        new = total - self._shown
        if anew or (new and (not self._shown or self.tab == DEVICES)) or not 0 <= new <= len(kept):
            width = pane.scrollable_content_region.width
            lines = all_lines(self.facts, self.tab, self.app.glyphs, width)
            pane.replace(lines, grows=self.tab != DEVICES, follow=anew or pane.following)
        elif new:
            pane.append(lines_of(self.tab, list(kept)[-new:], self.app.glyphs))
        self._shown = total

    def _switch(self, tab: int) -> None:
        self.tab = tab % len(TABS)
        self._show_lines(anew=True)
        self._show_tabs()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Searching while it is typed."""
        self.query_one(LogLines).search(event.value)

    def on_filter_line_closed(self) -> None:
        """Back to the lines; what was sought stays until esc there."""
        self.query_one(FilterLine).remove_class("-open")
        self.query_one(LogLines).focus()

    # Actions ----------------------------------------------------------------------------------------------------------

    def _row(self) -> RunRow:
        found = next((row for row in self.app.rows if row.id == self.run_id), None)
        return found or RunRow(id=self.run_id, kind=self.kind, name=self.name_of_run, state=self.facts.state)

    def why_not(self, name: str) -> str:
        """What the run's state forbids."""
        state = self.facts.state
        active = state in ("queued", "starting", "running", "stopping")
        if name in ("stop", "kill") and not active:
            return f"the run has ended ({state})"
        if name == "checkpoint" and (state != "running" or self.kind != "train"):
            return f"only a running training run writes checkpoints; this one is {state}"
        if name == "resume" and state not in ("stopped", "failed", "lost"):
            return f"only a stopped, failed or lost run can be resumed; this one is {state}"
        if name in ("chat", "merge", "push"):
            return self.result_problem(self._row())
        if name == "again" and self.kind != "train":
            return f"this is a {self.kind} run; only training can be repeated here"
        if name in ("curve", "overlay") and self.kind != "train":
            return f"this is a {self.kind} run; only training has curves"
        if name == "overlay" and not self._other_rows():
            return "there is no other training run"
        return ""

    def do_stop(self) -> None:
        self.stop_run(self.run_id)

    def do_kill(self) -> None:
        from .messages import ConfirmDialog

        def answered(yes: bool | None) -> None:
            if yes:
                self.stop_run(self.run_id, now=True)

        self.app.push_screen(
            ConfirmDialog(f"End {self.name_of_run} now?", "What it learned since its last checkpoint is lost.", "End it now"), answered
        )

    def do_checkpoint(self) -> None:
        from .. import backend

        self.work(
            lambda: backend.checkpoint_run(self.app.home, self.run_id), lambda _: self.app.notify("a checkpoint is written after this step")
        )

    def do_resume(self) -> None:
        from .. import backend

        def resumed(_: None) -> None:
            self.app.look_again()
            if self._feed is not None:
                self._feed.wake()

        self.work(lambda: backend.resume_run(self.app.home, self.run_id), resumed)

    async def do_chat(self) -> None:
        row = self._row()
        await self.app.chat_with(row.model, row.result)

    def do_merge(self) -> None:
        row = self._row()
        self.open_merge(row.model, row.result)

    def do_push(self) -> None:
        self.open_push(self._row().result)

    def do_again(self) -> None:
        self.app.new_run(request=self.request)

    def do_curve(self) -> None:
        self.quantity = (self.quantity + 1) % len(QUANTITIES)
        self._show_curves()

    def _other_rows(self) -> list[RunRow]:
        """Training runs that can be drawn over this one, those of the same model first."""
        rows = [row for row in self.app.rows if row.kind == "train" and row.id != self.run_id]
        return sorted(rows, key=lambda row: row.model != self.request.get("model"))

    def do_overlay(self) -> None:
        from .messages import MarkDialog

        found = [(row.id, row.name, f"{row.state}, {row.method}, {row.model}") for row in self._other_rows()]
        names = {run_id: name for run_id, name, _ in found}

        def marked(chosen: list[str] | None) -> None:
            if chosen is None or self._feed is None:
                return
            self.others = {one: self.others.get(one) or (names[one], History()) for one in chosen}
            self._feed.others = tuple(chosen)
            self._feed.wake()
            self._show_curves()

        self.app.push_screen(MarkDialog("Draw which runs over this one?", found, marked=list(self.others)), marked)

    def do_search(self) -> None:
        self.query_one(FilterLine).open()

    def do_tab_next(self) -> None:
        self._switch(self.tab + 1)

    def do_tab_previous(self) -> None:
        self._switch(self.tab - 1)

    def do_copy(self) -> None:
        self.app.copy_to_clipboard(self.run_id)
        self.app.notify(f"copied {self.run_id}")
