"""The Textual app: views, themes, what is known of runs, errors. `run_app` is what ``finetui`` without a command calls."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from textual.app import App, SystemCommand
from textual.screen import Screen
from textual.scrollbar import ScrollBar, ScrollBarRender

from ..core.applog import log, open_log
from ..core.config import Settings
from ..core.errors import FineTUIError, UsageError, WorkFailed
from ..core.paths import Home, config_file
from .actions import Acting, bindings, by_id
from .glyphs import ASCII, UNICODE
from .keymap import Keymap
from .theme import FALLBACK_VARIABLES, SIXTEEN, THEMES
from .watching import DevicesChanged, RunRow, RunsChanged, RunsUnreadable, RunWatcher
from .widgets.bars import TopBar
from .widgets.reading import AsciiBars

VIEWS = {
    "home": "HomeScreen", "catalog": "CatalogScreen", "chat": "ChatScreen", "compare": "CompareScreen", "doctor": "DoctorScreen",
    "log": "LogScreen", "settings": "SettingsScreen",
}  # fmt: skip
"""View → its class in the module of its name in ``screens``, imported when it is first shown."""


def _view(name: str) -> Callable[[], Screen[Any]]:
    def make() -> Screen[Any]:
        return getattr(importlib.import_module(f".screens.{name}", __package__), VIEWS[name])()

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
    MODES = {name: _view(name) for name in VIEWS}
    DEFAULT_MODE = "home"
    COMMAND_PALETTE_BINDING = "ctrl+p"
    ENABLE_COMMAND_PALETTE = True
    NOTIFICATION_TIMEOUT = 5

    def __init__(self, home: Home, settings: Settings | None = None, *, open_run: str = "", ascii: bool = False) -> None:
        super().__init__()
        self.home = home
        self.settings = settings or Settings()
        self.open_run = open_run
        # The font of a Linux console has neither braille nor most of our signs.
        self.ascii = ascii or self.settings.ascii or os.environ.get("TERM") == "linux"
        self.glyphs = ASCII if self.ascii else UNICODE
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
        self.keymap = Keymap(self.settings.keys, ascii=self.ascii)
        self.set_keymap(self.keymap.for_textual())
        self.set_class(self.ascii, "-ascii")
        ScrollBar.renderer = AsciiBars if self.ascii else ScrollBarRender

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

    @property
    def own_themes(self) -> list[str]:
        """The themes made for this screen; under ``NO_COLOR`` without that of the terminal's own colours."""
        return [theme.name for theme in THEMES if not (self.no_color and theme is SIXTEEN)]

    def configure(self, settings: Settings) -> None:
        """Take up settings that have changed while the screen is open (`core.config.AT_NEXT_START` says which have to wait)."""
        before, self.settings = self.settings, settings
        if settings.theme != before.theme:
            self.theme = self._first_theme()
        if settings.keys != before.keys:
            self.keymap = Keymap(settings.keys, ascii=self.ascii)
            self.set_keymap(self.keymap.for_textual())
            self._tell_screen("keys_changed")

    def _tell_settings_problems(self) -> None:
        """What of the configuration cannot be followed; nothing of it is passed over in silence."""
        problems = [f"[keys] {problem}" for problem in self.keymap.problems]
        if self.settings.theme not in self.available_themes:
            problems.insert(0, f"there is no theme '{self.settings.theme}': {self.theme} is used")
        if problems:
            hint = f"the rest of the file is in force; {self.keymap.label(self.keymap.keys(by_id('app.settings'))[0])} opens the settings"
            self.show_error(UsageError("\n".join([str(config_file()), *problems]), hint))

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our greys, for themes that do not have them."""
        return FALLBACK_VARIABLES

    @property
    def current_view(self) -> str:
        """One of `VIEWS`."""
        return self.current_mode

    # Runs -------------------------------------------------------------------------------------------------------------

    def on_load(self) -> None:
        """From here on mistakes go to the log."""
        open_log(self.home, self.settings.log_level)

    def on_mount(self) -> None:
        """Start watching once there is something on the screen."""
        self.call_after_refresh(self._start)

    def _start(self) -> None:
        self._watcher.start()
        log.info("the screen is open: %d x %d, TERM=%s, %s", *self.size, os.environ.get("TERM"), self.theme)
        if self.open_run:
            self.show_run(self.open_run)
        self._tell_settings_problems()

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

    def switch_to_comparison(self, run_id: str) -> None:
        """Put a comparison in the place of the screen that started it."""
        from .screens.compare import CompareScreen

        self.switch_screen(CompareScreen([run_id]))

    # Errors -----------------------------------------------------------------------------------------------------------

    def show_error(self, problem: FineTUIError) -> None:
        """Show an error and its hint; nothing else happens."""
        log.warning("%s: %s", problem.kind, problem.message)
        from .screens.messages import ErrorDialog

        self.push_screen(ErrorDialog(problem))

    def unexpected(self, problem: BaseException) -> FineTUIError:
        """Log an error that is not one of ours and wrap it into one that is."""
        self.log_problem(problem)
        line = traceback.format_exception_only(problem)[-1].strip()
        return WorkFailed(f"something unexpected happened: {line}", f"the details are in {self.home.log}")

    def log_problem(self, problem: BaseException) -> None:
        """Append a traceback to the home's log."""
        log.error("the screen met an unexpected error", exc_info=problem)

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
        from .palette import scopes_in_focus
        from .screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(scopes_in_focus(self, self.screen)))

    def do_quit(self) -> None:
        self.exit(0)

    def do_leave(self) -> None:
        self.exit(0)

    def do_palette(self) -> None:
        self.action_command_palette()

    async def do_home(self) -> None:
        await self.show_view("home")

    async def do_catalog(self) -> None:
        await self.show_view("catalog")

    async def do_chat(self) -> None:
        await self.show_view("chat")

    async def do_compare(self) -> None:
        await self.show_view("compare")

    async def do_doctor(self) -> None:
        await self.show_view("doctor")

    async def do_log(self) -> None:
        await self.show_view("log")

    async def do_settings(self) -> None:
        await self.show_view("settings")

    def do_new_run(self) -> None:
        if getattr(self.screen, "SCOPE", "") != "new":
            self.new_run()

    async def do_back(self) -> None:
        if len(self.screen_stack) > 1:
            self.pop_screen()

    def do_theme(self) -> None:
        names = self.own_themes
        self.theme = names[(names.index(self.theme) + 1) % len(names)] if self.theme in names else names[0]
        self.notify(self.theme)

    def copy_to_clipboard(self, text: str) -> None:
        """Copy through the terminal, so that it works over SSH and inside tmux."""
        from ..core.terminal import clipboard

        self._clipboard = text
        if self._driver is not None:
            self._driver.write(clipboard(text))

    def do_suspend(self) -> None:
        self.action_suspend_process()

    async def show_view(self, name: str) -> None:
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
        await self.show_view("chat")
        from .screens.chat import ChatScreen

        if isinstance(self.screen, ChatScreen):
            self.screen.open(model, adapter)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The command palette: every action."""
        from .palette import commands

        return commands(self, screen)


def run_app(home: Home, settings: Settings, *, open_run: str = "", ascii: bool = False) -> int:
    """Open the screen and stay until the user leaves; returns the exit code.

    Args:
        open_run: id of a run whose dashboard is opened first.
        ascii: draw with ASCII characters only, whatever the settings say.
    """
    # On hang-up the terminal is gone: writing to it again and again would only burn the CPU.
    signal.signal(signal.SIGHUP, lambda *_: os._exit(129))
    app = FineTuiApp(home.create(), settings, open_run=open_run, ascii=ascii)
    # What a thread does not catch goes to the log, not over the screen.
    threading.excepthook = lambda problem: app.log_problem(problem.exc_value or RuntimeError("a thread ended"))
    signal.signal(signal.SIGTERM, lambda *_: app.call_later(app.exit, 143))
    code = app.run()
    log.info("the screen is closed")
    if app.crash is not None:
        print(f"error: the screen met an unexpected error and closed: {app.crash}", file=sys.stderr)
        print(f"hint: runs go on; the details are in {home.log}", file=sys.stderr)
        return 1
    return code if isinstance(code, int) else (app.return_code or 0)
