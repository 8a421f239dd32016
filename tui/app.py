"""The Textual app: views, themes, what is known of runs, errors. `run_app` is what ``finetui`` without a command calls."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from textual.app import App, SystemCommand
from textual.screen import Screen

from ..core.config import Settings
from ..core.errors import FineTUIError, WorkFailed
from ..core.paths import Home
from .actions import ACTIONS, SCOPE_TITLES, Acting, bindings
from .glyphs import ASCII, UNICODE
from .theme import FALLBACK_VARIABLES, SIXTEEN, THEMES
from .watching import DevicesChanged, RunRow, RunsChanged, RunsUnreadable, RunWatcher
from .widgets.bars import TopBar


def _view(name: str) -> Callable[[], Screen[Any]]:
    """A function that imports and makes a view when it is first shown."""

    def make() -> Screen[Any]:
        if name == "catalog":
            from .screens.catalog import CatalogScreen

            return CatalogScreen()
        if name == "chat":
            from .screens.chat import ChatScreen

            return ChatScreen()
        if name == "compare":
            from .screens.compare import CompareScreen

            return CompareScreen()
        if name == "doctor":
            from .screens.doctor import DoctorScreen

            return DoctorScreen()
        from .screens.home import HomeScreen

        return HomeScreen()

    return make


class FineTuiApp(Acting, App[int]):
    """FineTUI's screen.

    Attributes:
        rows: what is known of every run, newest first; the watcher thread posts it.
        devices: their last reading.
        runs_problem: why the runs cannot be read just now; empty when they can.
        machine_line: host and devices, in the upper right corner.
    """

    CSS_PATH = "finetui.tcss"
    TITLE = "FineTUI"
    BINDINGS = bindings("app")
    MODES = {name: _view(name) for name in ("home", "catalog", "chat", "compare", "doctor")}
    DEFAULT_MODE = "home"
    COMMAND_PALETTE_BINDING = "ctrl+p"
    ENABLE_COMMAND_PALETTE = True
    NOTIFICATION_TIMEOUT = 5

    def __init__(self, home: Home, settings: Settings | None = None, *, open_run: str = "") -> None:
        super().__init__()
        self.home = home
        self.settings = settings or Settings()
        self.open_run = open_run
        # The font of a Linux console has neither braille nor most of our signs.
        ascii_only = self.settings.ascii or os.environ.get("TERM") == "linux"
        self.glyphs = ASCII if ascii_only else UNICODE
        self.rows: tuple[RunRow, ...] = ()
        self.runs_known = False
        self.runs_problem = ""
        self.machine_line = os.uname().nodename.split(".")[0]
        self.crash: Exception | None = None
        self._watcher = RunWatcher(home, self._post_rows, self._post_devices, self._post_problem)
        self.devices: tuple[Any, ...] = ()
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = self._first_theme()
        if ascii_only:
            self.add_class("-ascii")

    def _first_theme(self) -> str:
        """The theme of the settings; the 16-colour one where the terminal has no more and nothing was chosen.

        Under ``NO_COLOR`` never that one: Textual's greyscale filter makes black of the terminal's own colours.
        """
        chosen = self.settings.theme
        if self.no_color:
            return chosen if chosen in self.available_themes and chosen != SIXTEEN.name else THEMES[0].name
        if chosen not in self.available_themes or (chosen == THEMES[0].name and self.console.color_system == "standard"):
            return SIXTEEN.name if self.console.color_system == "standard" else THEMES[0].name
        return chosen

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our greys, for themes that do not have them."""
        return FALLBACK_VARIABLES

    @property
    def current_view(self) -> str:
        """``home``, ``catalog``, ``chat``, ``compare`` or ``doctor``."""
        return self.current_mode

    # Runs -------------------------------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Start watching once there is something on the screen."""
        self.call_after_refresh(self._start)

    def _start(self) -> None:
        self._watcher.start()
        if self.open_run:
            self.show_run(self.open_run)

    def on_unmount(self) -> None:
        """Leaving ends only the reading; runs go on."""
        self._watcher.stop()

    def _post_rows(self, rows: tuple[RunRow, ...]) -> None:
        """Called in the watcher's thread."""
        self.post_message(RunsChanged(rows))

    def _post_devices(self, devices: tuple[Any, ...]) -> None:
        """Called in the watcher's thread."""
        self.post_message(DevicesChanged(devices))

    def _post_problem(self, reason: str) -> None:
        """Called in the watcher's thread."""
        self.post_message(RunsUnreadable(reason))

    def on_runs_unreadable(self, message: RunsUnreadable) -> None:
        """Say so and go on; Home keeps it in its title until it is over."""
        self.runs_problem = message.reason
        if message.reason:
            self.notify(f"runs cannot be read: {message.reason}", severity="error", markup=False)
        self._tell_screen("runs_changed")

    def on_runs_changed(self, message: RunsChanged) -> None:
        """New facts about runs, for whichever screens show them."""
        if self.runs_known:
            self._tell_ends(self.rows, message.rows)
        self.rows, self.runs_known = message.rows, True
        self._tell_screen("runs_changed")

    def _tell_ends(self, before: tuple[RunRow, ...], after: tuple[RunRow, ...]) -> None:
        """Draw attention to runs that have ended; not to those that another run started, which tells it itself."""
        from ..core.terminal import attention

        active = {row.id for row in before if row.active}
        for row in after:
            if row.id in active and not row.active and not row.parent and self._driver is not None and not self.is_headless:
                self._driver.write(attention(f"FineTUI: {row.name} {row.state}", self.settings.notify))

    def on_devices_changed(self, message: DevicesChanged) -> None:
        """A new reading of the devices."""
        first = not self.devices
        self.devices = message.devices
        if first:
            found = [device for device in message.devices if device.kind != "cpu" and device.usable] or list(message.devices)
            kinds = {device.name for device in found}
            what = f"{len(found)} × {kinds.pop()}" if len(kinds) == 1 and len(found) > 1 else ", ".join(sorted(kinds))
            self.machine_line += f" {self.glyphs.dot} {what}"
            if self.screen_stack:
                for bar in self.screen.query(TopBar):
                    bar.show()
        self._tell_screen("devices_changed")

    def _tell_screen(self, name: str) -> None:
        """Only the screen on top: one below would lay itself out and repaint everything; it looks when it is back."""
        if not self.screen_stack:  # news may still arrive while the app closes
            return
        tell = getattr(self.screen, name, None)
        if tell is not None:
            tell()

    def look_again(self) -> None:
        """Make the watcher look now, not at its next round."""
        self._watcher.wake()

    def show_run(self, run_id: str) -> None:
        """Open a run: a comparison's table, any other's dashboard."""
        if any(row.id == run_id and row.kind == "compare" for row in self.rows):
            self.compare([run_id])
        else:
            self.show_dashboard(run_id)

    def show_dashboard(self, run_id: str) -> None:
        """Open the dashboard of a run."""
        from .screens.run import RunScreen

        self.push_screen(RunScreen(run_id))

    def compare(self, run_ids: list[str]) -> None:
        """Open a comparison, or several training runs side by side."""
        from .screens.compare import CompareScreen

        self.push_screen(CompareScreen(run_ids))

    def switch_to_run(self, run_id: str) -> None:
        """Put a run's dashboard in the place of the screen that started it."""
        from .screens.run import RunScreen

        self.switch_screen(RunScreen(run_id))

    # Errors -----------------------------------------------------------------------------------------------------------

    def show_error(self, problem: FineTUIError) -> None:
        """Show an error and its hint; nothing else happens."""
        from .screens.messages import ErrorDialog

        self.push_screen(ErrorDialog(problem))

    def unexpected(self, problem: BaseException) -> FineTUIError:
        """Log an error that is not one of ours and wrap it into one that is."""
        self.log_problem(problem)
        line = traceback.format_exception_only(problem)[-1].strip()
        return WorkFailed(f"something unexpected happened: {line}", f"the details are in {self.home.log}")

    def log_problem(self, problem: BaseException) -> None:
        """Append a traceback to the home's log."""
        text = "".join(traceback.format_exception(problem))
        try:
            self.home.root.mkdir(parents=True, exist_ok=True)
            with open(self.home.log, "a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} the screen met an unexpected error\n{text}\n")
        except OSError as disk:
            self.log.error(f"cannot write {self.home.log}: {disk}")

    def _handle_exception(self, error: Exception) -> None:
        """A mistake of ours in a handler: leave in order, with a sentence instead of a traceback over the screen."""
        self.log_problem(error)
        if self.is_headless:
            super()._handle_exception(error)
            return
        self.crash = error
        self._return_code = 1
        self._exit_renderables.clear()
        self.exit(1, return_code=1)

    # Actions ----------------------------------------------------------------------------------------------------------

    def do_help(self) -> None:
        from .screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self._scopes_in_focus()))

    def do_quit(self) -> None:
        self.exit(0)

    def do_palette(self) -> None:
        self.action_command_palette()

    async def do_home(self) -> None:
        await self._show_view("home")

    async def do_catalog(self) -> None:
        await self._show_view("catalog")

    async def do_chat(self) -> None:
        await self._show_view("chat")

    async def do_compare(self) -> None:
        await self._show_view("compare")

    async def do_doctor(self) -> None:
        await self._show_view("doctor")

    def do_new_run(self) -> None:
        if getattr(self.screen, "SCOPE", "") != "new":
            self.new_run()

    async def do_back(self) -> None:
        if len(self.screen_stack) > 1:
            self.pop_screen()

    def do_theme(self) -> None:
        names = [theme.name for theme in THEMES if not (self.no_color and theme is SIXTEEN)]
        self.theme = names[(names.index(self.theme) + 1) % len(names)] if self.theme in names else names[0]
        self.notify(self.theme)

    def do_suspend(self) -> None:
        self.action_suspend_process()

    async def _show_view(self, name: str) -> None:
        """Switch to the first screen of a view, closing the screens over it; a dialog (an error just met) stays."""
        if self.current_mode != name:
            await self.switch_mode(name)
        while len(self.screen_stack) > 1 and not self.screen.is_modal:
            await self.pop_screen()

    def new_run(self, **chosen: Any) -> None:
        """Open the form of a new run, with some answers given already."""
        from .screens.new_run import NewRunScreen

        self.push_screen(NewRunScreen(**chosen))

    async def chat_with(self, model: str, adapter: str = "") -> None:
        """Open the chat on a base, with one of its adapters switched on."""
        await self._show_view("chat")
        from .screens.chat import ChatScreen

        if isinstance(self.screen, ChatScreen):
            self.screen.open(model, adapter)

    def _scopes_in_focus(self) -> list[str]:
        """Scopes from the focused widget outwards, for the help."""
        scopes = []
        for node in self.screen.focus_chain and self.focused and self.focused.ancestors_with_self or [self.screen]:
            for binding in getattr(node, "BINDINGS", []):
                scope = (getattr(binding, "id", None) or "").split(".")[0]
                if scope in SCOPE_TITLES and scope not in scopes:
                    scopes.append(scope)
        return scopes

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The command palette: every action; those of a place that is not open say where they belong."""
        here = self._scopes_in_focus() + ["app"]
        for action in sorted(ACTIONS, key=lambda action: action.scope not in here):
            title = action.title if action.scope == "app" else f"{SCOPE_TITLES[action.scope]}: {action.title}"
            yield SystemCommand(title, action.tooltip, lambda identifier=action.id: self.call_later(self.perform, identifier))

    async def perform(self, identifier: str) -> None:
        """Do an action by id, wherever its owner is; views are opened for theirs."""
        scope = identifier.split(".")[0]
        if scope in self.MODES and getattr(self.screen, "SCOPE", "") != scope:
            await self._show_view(scope)
        if scope == "new" and getattr(self.screen, "SCOPE", "") != "new":
            self.new_run()
            return
        owners: list[Any] = [*(self.focused.ancestors_with_self if self.focused else [self.screen]), self]
        for node in owners:
            if any(getattr(binding, "id", "") == identifier for binding in getattr(node, "BINDINGS", [])) or (
                getattr(node, "SCOPE", "") == scope
            ):
                result = node.action_act(identifier)
                if result is not None:
                    await result
                return
        self.notify(f"{SCOPE_TITLES[scope]} is not open or not in focus", severity="warning")


def run_app(home: Home, settings: Settings, *, open_run: str = "") -> int:
    """Open the screen and stay until the user leaves; returns the exit code.

    Args:
        open_run: id of a run whose dashboard is opened first.
    """
    # On hang-up the terminal is gone: writing to it again and again would only burn the CPU.
    signal.signal(signal.SIGHUP, lambda *_: os._exit(129))
    app = FineTuiApp(home.create(), settings, open_run=open_run)
    code = app.run()
    if app.crash is not None:
        print(f"error: the screen met an unexpected error and closed: {app.crash}", file=sys.stderr)
        print(f"hint: runs go on; the details are in {home.log}", file=sys.stderr)
        return 1
    return code if isinstance(code, int) else (app.return_code or 0)
