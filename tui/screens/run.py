"""A run: the curve is the hero, beside it the figures, below it log, events and samples."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import RichLog, Static

from ...core.errors import DiskError, FineTUIError, NotFound
from ..actions import bindings
from ..feed import RunFacts, RunFeed, RunNews
from ..format import clock, duration, percent
from ..glyphs import STATE_STYLES, bar, shorten
from ..runfigures import narrow_figures, wide_figures
from ..runlines import pair, state_text
from ..watching import RunRow
from ..widgets.plot import LossPlot
from ..widgets.ruleline import RuleLine
from .artifacts import ArtifactActions
from .base import View

TABS = ("Log", "Events", "Samples")


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
        self.tab = 1
        self._shown = 0
        self._figures = Content("")
        self._feed: RunFeed | None = None

    def content(self) -> ComposeResult:
        """Curve, figures, and the pane with three tabs."""
        yield RuleLine(id="run-title", glyphs=self.app.glyphs)
        with Horizontal(id="run-columns"):
            with Vertical(id="curve"):
                yield LossPlot(id="plot", glyphs=self.app.glyphs)
            with Vertical(id="figures"):
                yield Static(id="figure-lines")
        yield Static(id="trouble", classes="hidden")
        with Vertical(id="run-bottom", classes="pane"):
            yield RichLog(id="log-lines", wrap=True, max_lines=2000, auto_scroll=True)

    def on_mount(self) -> None:
        """Start reading."""
        self._show_tabs()
        self.query_one("#log-lines").focus()
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
        points, evaluations = self.facts.take(news.update)
        if first:
            self._arrange()
            if self.facts.state in ("failed", "lost"):
                self._switch(-1)
        plot = self.query_one(LossPlot)
        for step, loss in points:
            plot.add(step, loss)
        for step, loss in evaluations:
            plot.add_evaluation(step, loss)
        if points or evaluations:
            plot.show()
        self._show_figures()
        self._show_lines()
        if before != self.facts.state or first:
            self.keys_changed()

    def runs_changed(self) -> None:
        """The result is known to the list of runs."""
        if self.request and self.facts.ended:
            self._show_figures()

    def on_resize(self) -> None:
        """The figures have two forms, and the log is wrapped to its width."""
        self.call_after_refresh(self._show_figures)
        self.call_after_refresh(lambda: self._show_lines(anew=True))

    def _arrange(self) -> None:
        """Runs that train nothing have no curve."""
        if self.kind != "train":
            self.query_one("#curve").add_class("hidden")
            self.query_one("#figures").styles.width = "1fr"
            self.query_one("#run-bottom").add_class("-bare")

    def _show_figures(self) -> None:
        self._show_title()
        static = self.query_one("#figure-lines", Static)
        width = self.query_one("#figures").size.width
        if self.kind != "train":
            text = self._plain_figures(width)
        elif self.has_class("-wide"):
            text = wide_figures(self.facts, self.request, self.app.glyphs, width)
        else:
            text = narrow_figures(self.facts, self.request, self.app.glyphs)
        if not text.is_same(self._figures):
            static.update(text, layout=text.plain.count("\n") != self._figures.plain.count("\n"))
            self._figures = text
        trouble, outcome = self.query_one("#trouble", Static), self._outcome()
        trouble.set_class(not self.facts.error and not outcome, "hidden")
        if not self.facts.error:
            wrong = self.facts.trouble[0]
            glyph = self.app.glyphs.warning if wrong else self.app.glyphs.states.get(self.facts.state, "")
            said = shorten(f"{glyph} {outcome}", max(20, self.size.width - 2), self.app.glyphs)
            trouble.update(Content.styled(f" {said}", "$warning" if wrong else STATE_STYLES.get(self.facts.state, "$muted")))
        else:
            message, hint = self.facts.error.get("message", ""), self.facts.error.get("hint", "")
            trouble.update(
                Content.assemble((f" {self.app.glyphs.states['failed']} {message}", "$error"), (f"\n   {hint}" if hint else "", "$muted"))
            )

    def _outcome(self) -> str:
        """What a run waits for or suffers from; what can be done with one that has ended well or was stopped."""
        if self.facts.state in ("queued", "starting"):
            return self.facts.reason
        if self.facts.trouble[0]:
            return self.facts.trouble[1]
        if self.facts.state == "stopped":
            return "stopped: R resumes it"
        result = self._row().result
        if self.facts.state != "succeeded" or not result or self.kind not in ("train", "merge", "push", "pull"):
            return ""
        return f"c chats with the result: {result}" if self.kind == "train" else f"the result is {result}"

    def _plain_figures(self, width: int) -> Content:
        facts, progress = self.facts, self.facts.progress
        lines = [pair("kind", self.kind), pair("state", facts.state), pair("started", clock(facts.started))]
        if progress.get("total"):
            share = progress["done"] / progress["total"]
            lines.append(pair("progress", f"{bar(share, min(40, width - 40), self.app.glyphs)} {percent(share)}  {progress['message']}"))
        for key in ("model", "adapter", "repo", "hub", "output"):
            if self.request.get(key):
                lines.append(pair(key, str(self.request[key])))
        return Content("\n").join(lines)

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
        self.titled(self.query_one("#run-bottom"), Content.assemble(*names[:-1]), "[ ] other tab")

    def _lines_of_tab(self) -> list[Any]:
        facts = self.facts
        if self.tab == 0:
            return list(facts.log)
        if self.tab == 1:
            return [
                Text.assemble((clock(time) + "  ", "dim"), (f"{kind:<11}", "bold"), message.removeprefix(f"{kind} "))
                for time, kind, message in facts.events
            ]
        return [
            Text.assemble((f"step {step:g}  ", "dim"), (prompt, "bold"), f"\n{self.app.glyphs.arrow} ", text)
            for step, prompt, text in facts.samples
        ]

    def _show_lines(self, *, anew: bool = False) -> None:
        log = self.query_one("#log-lines", RichLog)
        lines = self._lines_of_tab()
        if anew or (lines and not self._shown) or len(lines) < self._shown or (self.tab == 0 and len(lines) == self.facts.log.maxlen):
            log.clear()
            self._shown = 0
        for line in lines[self._shown :]:
            log.write(line, width=log.scrollable_content_region.width or None)
        if not lines and anew:
            log.write(Text(("nothing logged yet", "nothing happened yet", "no samples: set sample_prompts in a new run")[self.tab], "dim"))
            self._shown = 0
            return
        self._shown = len(lines)

    def _switch(self, by: int) -> None:
        self.tab = (self.tab + by) % len(TABS)
        self._show_tabs()
        self._show_lines(anew=True)

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

    def do_tab_next(self) -> None:
        self._switch(1)

    def do_tab_previous(self) -> None:
        self._switch(-1)

    def do_copy(self) -> None:
        self.app.copy_to_clipboard(self.run_id)
        self.app.notify(f"copied {self.run_id}")
