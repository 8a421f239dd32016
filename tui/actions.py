"""Every action of the screen, declared once: from here come the key bindings, the footer, the help and the command palette.
The configuration may give an action other keys: see `keymap`.

An action's id is ``scope.name``. The screen, widget or app that owns the scope mixes in `Acting` and has a method
``do_<name>``; ``why_not(name)`` says why an action cannot be done just now (shown when its key is pressed, grey in the footer).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual.binding import Binding, BindingType


@dataclass(frozen=True, slots=True)
class Action:
    """One thing the user can do.

    Attributes:
        id: ``scope.name``; the name of the binding in a keymap.
        keys: Textual key names, comma-separated, the one shown in the footer first; empty: enter on a line of a list.
        title: a word or two, for the footer.
        tooltip: a sentence, for the help and the palette.
        footer: whether the footer shows it.
    """

    id: str
    keys: str
    title: str
    tooltip: str
    footer: bool = True

    @property
    def scope(self) -> str:
        """Whose action it is: ``app``, a screen, or a kind of widget."""
        return self.id.split(".")[0]

    @property
    def name(self) -> str:
        """The part of the id that names the method: ``do_<name>``."""
        return self.id.split(".")[1]


ACTIONS: tuple[Action, ...] = (
    Action("app.help", "question_mark,f1", "Help", "Show every key, those of the focused pane first"),
    Action("app.quit", "q", "Quit", "Leave FineTUI; runs go on and are here when you come back"),
    Action("app.leave", "ctrl+q", "Quit", "Leave FineTUI from anywhere, from dialogs and while typing too", footer=False),
    Action("app.palette", "colon,ctrl+p", "Commands", "Find an action by name"),
    Action("app.home", "1", "Home", "Runs and devices", footer=False),
    Action("app.catalog", "2", "Catalog", "Base models and adapters on this machine", footer=False),
    Action("app.chat", "3", "Chat", "Talk to a base model and swap its adapters", footer=False),
    Action("app.new_run", "n", "New run", "Choose model, data and method, see the price in memory, start", footer=False),
    Action("app.compare", "4", "Compare", "Figures and loss curves of several runs side by side", footer=False),
    Action("app.doctor", "5", "Doctor", "Devices, plugins and folders: what works, what does not, why", footer=False),
    Action("app.log", "8", "Log", "What FineTUI did and what went wrong", footer=False),
    Action("app.settings", "9,comma", "Settings", "Themes, keys, folders, notifications: what the configuration file says", footer=False),
    Action("app.back", "escape", "Back", "Leave what is open", footer=False),
    Action("app.theme", "T", "Theme", "Switch between the dark, light, high-contrast and 16-colour theme", footer=False),
    Action("app.suspend", "ctrl+z", "Suspend", "Put FineTUI in the background of the shell; `fg` brings it back", footer=False),
    # Home
    Action("home.open", "", "Open", "Open the selected run", footer=False),
    Action("home.new", "n", "New run", "Fine-tune a model"),
    Action("home.stop", "s", "Stop", "Stop the selected run; it writes a checkpoint first and can be resumed; one that waits is cancelled"),
    Action("home.chat", "c", "Chat", "Chat with the selected run's result"),
    Action("home.merge", "m", "Merge", "Merge the selected run's adapter into its base"),
    Action("home.push", "p", "Push", "Publish the selected run's adapter"),
    Action("home.delete", "d", "Delete", "Remove the selected run's folder; its adapter stays"),
    Action("home.compare", "v", "Compare", "Compare the runs marked with space, or open the selected comparison"),
    Action("home.queue_up", "K", "Sooner", "Move the selected run up in the queue", footer=False),
    Action("home.queue_down", "J", "Later", "Move the selected run down in the queue", footer=False),
    Action("home.queue_pause", "P", "Pause queue", "Hold back everything that waits for a device, or let it go on", footer=False),
    Action("home.filter", "slash", "Filter", "Show only runs whose name, method or state contains some text"),
    Action("home.copy", "y", "Copy", "Copy the selected run's id", footer=False),
    Action("home.refresh", "r", "Refresh", "Read the runs and devices again", footer=False),
    # Catalog
    Action("catalog.new", "n", "New run", "Fine-tune the selected model, or the base of the selected adapter"),
    Action("catalog.chat", "c", "Chat", "Chat with the selected model or adapter"),
    Action("catalog.merge", "m", "Merge", "Merge the selected adapter into its base"),
    Action("catalog.push", "p", "Push", "Publish the selected adapter, private unless you say otherwise"),
    Action("catalog.add", "i", "Import", "Add a model folder or import a PEFT adapter folder"),
    Action("catalog.pull", "f", "Pull", "Fetch an adapter from a hub"),
    Action("catalog.search", "h", "Search hub", "Find adapters on a hub by words and base model, read their cards, pull one"),
    Action("catalog.delete", "d", "Delete", "Remove the selected model or adapter from this machine"),
    Action("catalog.filter", "slash", "Filter", "Show only what contains some text"),
    Action("catalog.sort", "s", "Sort", "Sort by name, date, size or evaluation loss"),
    Action("catalog.tag", "t", "Tags", "Change the tags of the selected adapter; #tag in the filter shows what has it"),
    Action("catalog.diff", "v", "Differences", "Show where the selected adapter differs from the one marked with space"),
    Action("catalog.copy", "y", "Copy", "Copy the selected folder's path", footer=False),
    Action("catalog.refresh", "r", "Refresh", "Scan models and adapters again", footer=False),
    # New run
    Action("new.start", "ctrl+s", "Start", "Start this run, or this comparison"),
    Action("new.data", "v", "Data", "Show the data's problems, or its rows as training sees them, token by token"),
    Action("new.fit", "f", "Make it fit", "Change the settings that the planner suggests, where the run does not fit"),
    Action("new.queue", "w", "Queue", "Let this run wait in the queue, which starts it when its turn comes"),
    Action("new.words", "e", "Command", "Show the same as a command and as a file for -c"),
    Action("new.fold", "a", "All options", "Show or hide the advanced options"),
    Action("new.copy", "y", "Copy", "Copy the equivalent command", footer=False),
    # Methods
    Action("methods.choose", "enter", "Choose", "Train with this method; with several marked, compare those"),
    Action("methods.compare", "v", "Compare", "Compare the methods marked with space: trained alike, then one table"),
    Action("methods.filter", "slash", "Filter", "Show only methods whose name or purpose contains some text"),
    # Data of a new run
    Action("preview.next", "right_square_bracket,right,l", "Next row", "Show the next row"),
    Action("preview.previous", "left_square_bracket,left,h", "Previous row", "Show the row before"),
    Action("preview.tokens", "t", "Tokens", "Show the row token by token, or as text"),
    Action("preview.copy", "y", "Copy", "Copy the row's text"),
    Action("preview.again", "r", "Read again", "Read the files again, after they were mended"),
    # The same in words
    Action("words.copy", "y", "Copy command", "Copy the command"),
    Action("words.copy_file", "Y", "Copy file", "Copy the TOML file that -c takes"),
    # Run
    Action("run.stop", "s", "Stop", "Stop after this step; a checkpoint is written first"),
    Action("run.checkpoint", "w", "Checkpoint", "Write a checkpoint now and go on"),
    Action("run.resume", "R", "Resume", "Go on from the last checkpoint"),
    Action("run.chat", "c", "Chat", "Chat with this run's result"),
    Action("run.merge", "m", "Merge", "Merge this run's adapter into its base"),
    Action("run.push", "p", "Push", "Publish this run's adapter"),
    Action("run.kill", "K", "Stop now", "End the run at once, without a checkpoint", footer=False),
    Action("run.again", "n", "Run again", "A new run with this run's settings, to change first"),
    Action("run.curve", "v", "Curve", "Show the next figure: loss, evaluation loss, learning rate, gradient norm, tokens/s"),
    Action("run.overlay", "o", "Overlay", "Choose runs whose curves are drawn over this one's"),
    Action("run.search", "slash", "Search log", "Find a text in the log", footer=False),
    Action("run.tab_next", "right_square_bracket", "Next tab", "Log, events, samples, devices", footer=False),
    Action("run.tab_previous", "left_square_bracket", "Previous tab", "Devices, samples, events, log", footer=False),
    Action("run.copy", "y", "Copy", "Copy the run's id", footer=False),
    # Chat
    Action("chat.write", "i", "Write", "Put the cursor into the message line"),
    Action("chat.cancel", "ctrl+x", "Stop", "Stop the answer that is being written; what there is of it stays"),
    Action("chat.blend", "b", "Blend", "Take the selected adapter into the blend, or out of it; several answer at once, by their weights"),
    Action("chat.again", "r", "Again", "Ask the last prompt again, of whoever is chosen now"),
    Action("chat.edit", "e", "Edit", "Write the last prompt anew; its answers are replaced"),
    Action("chat.prompts", "p,ctrl+l", "Prompts", "Take a saved prompt into the message line"),
    Action("chat.settings", "o", "Settings", "Temperature, length, seed and system message"),
    Action("chat.model", "m", "Model", "Choose another base model"),
    Action("chat.clear", "ctrl+n", "New chat", "Forget this conversation"),
    Action("chat.case", "t", "Test case", "Keep the last answer as a test case, in a file that `data check` and `eval` read"),
    Action("chat.filter", "slash", "Filter", "Show only adapters whose name or method contains some text", footer=False),
    Action("chat.keep", "P", "Save prompt", "Save the message, or the last prompt, in the prompt library", footer=False),
    Action("chat.more", "right,l", "Weigh more", "Give the selected adapter more weight in the blend", footer=False),
    Action("chat.less", "left,h", "Weigh less", "Give the selected adapter less weight; below 0 it is subtracted", footer=False),
    Action("chat.unload", "u", "Unload", "Drop the selected adapter from memory; it is loaded again when it is asked", footer=False),
    Action("chat.restart", "R", "Restart", "Load the model again in a new worker; the conversation stays", footer=False),
    Action("chat.copy", "y", "Copy", "Copy the last answer", footer=False),
    Action("chat.new_line", "ctrl+j", "New line", "Begin a new line in the message", footer=False),
    Action("chat.earlier", "pageup", "Earlier", "Scroll the conversation back", footer=False),
    Action("chat.later", "pagedown", "Later", "Scroll the conversation on", footer=False),
    # Compare
    Action("compare.open", "", "Open", "Open the training run of the selected row", footer=False),
    Action("compare.curve", "v", "Curves", "Show the next figure: loss, evaluation loss, learning rate, gradient norm, tokens/s"),
    Action("compare.measure", "b", "Bars", "Show the bars of the next figure"),
    Action("compare.tab_next", "right_square_bracket", "Other pane", "Curves, bars, notes"),
    Action("compare.export", "x", "Export", "Write the table to a Markdown, CSV or JSON file"),
    Action("compare.choose", "o", "Others", "Choose another comparison"),
    Action("compare.runs", "a", "Runs", "Choose the training runs that are compared"),
    Action("compare.stop", "s", "Stop", "Stop the comparison; it can be resumed"),
    Action("compare.resume", "R", "Resume", "Go on with what is not done", footer=False),
    Action("compare.right", "right,l", "More columns", "Scroll the table to the right", footer=False),
    Action("compare.left", "left,h", "Back", "Scroll the table to the left", footer=False),
    Action("compare.tab_previous", "left_square_bracket", "Previous pane", "Notes, bars, curves", footer=False),
    Action("compare.log", "L", "Log", "Open the dashboard of the comparison itself", footer=False),
    Action("compare.copy", "y", "Copy", "Copy the table as Markdown", footer=False),
    Action("compare.copy_ids", "Y", "Copy ids", "Copy the ids of what is compared", footer=False),
    # Doctor
    Action("doctor.refresh", "r", "Look again", "Examine devices, folders and plugins again"),
    Action("doctor.probe", "t", "Ask torch", "Start a process that imports torch and asks it for the GPUs and bfloat16 (seconds)"),
    Action("doctor.copy", "y", "Copy", "Copy the report, for a bug report or a colleague", footer=False),
    # Log
    Action("log.follow", "f", "Follow", "Stay at the end while lines come, or stay where you are"),
    Action("log.search", "slash", "Search", "Show only lines that contain some words"),
    Action("log.level", "w", "Warnings", "Show everything, warnings and errors, or errors only"),
    Action("log.copy", "y", "Copy", "Copy what is shown"),
    Action("log.refresh", "r", "Refresh", "Read the file again", footer=False),
    # Settings
    Action("settings.undo", "u", "Undo", "Take back the last change"),
    Action("settings.filter", "slash", "Filter", "Show only settings whose name or meaning contains some text"),
    Action("settings.copy", "y", "Copy", "Copy the path of the configuration file", footer=False),
    Action("settings.refresh", "r", "Read again", "Read the configuration file again", footer=False),
    # Widgets
    Action("list.down", "j", "Down", "Next line", footer=False),
    Action("list.up", "k", "Up", "Previous line", footer=False),
    Action("list.first", "g", "Top", "First line", footer=False),
    Action("list.last", "G", "End", "Last line", footer=False),
    Action("list.half_down", "ctrl+d", "Half page down", "Move half a page down", footer=False),
    Action("list.half_up", "ctrl+u", "Half page up", "Move half a page up", footer=False),
    Action("list.mark", "space", "Mark", "Mark the line, where several can be marked", footer=False),
    Action("form.edit", "enter", "Change", "Change the field: type a value or choose one", footer=False),
    Action("form.toggle", "space", "Toggle", "Switch on or off, or take the next choice", footer=False),
    Action("form.next", "right,l", "Next choice", "Take the next choice", footer=False),
    Action("form.previous", "left,h", "Previous choice", "Take the previous choice", footer=False),
    Action("form.reset", "delete,backspace", "Default", "Set the field back to its default", footer=False),
    Action("form.down", "down,j", "Down", "Next field", footer=False),
    Action("form.up", "up,k", "Up", "Previous field", footer=False),
    Action("form.first", "home,g", "Top", "First field", footer=False),
    Action("form.last", "end,G", "End", "Last field", footer=False),
    Action("form.half_down", "pagedown,ctrl+d", "Half page down", "Move half a page down", footer=False),
    Action("form.half_up", "pageup,ctrl+u", "Half page up", "Move half a page up", footer=False),
    Action("plot.left", "left,h", "Cursor left", "Read the values out one column further left", footer=False),
    Action("plot.right", "right,l", "Cursor right", "Read the values out one column further right", footer=False),
    Action("plot.first", "home,g", "First step", "Put the cursor on the first step", footer=False),
    Action("plot.last", "end,G", "Last step", "Put the cursor on the newest step", footer=False),
    Action("plot.put_away", "escape", "No cursor", "Take the cursor away", footer=False),
    Action("plot.zoom_in", "plus,equals_sign", "Zoom in", "Show half as many steps, about the cursor or at the newest", footer=False),
    Action("plot.zoom_out", "minus", "Zoom out", "Show twice as many steps", footer=False),
    Action("plot.earlier", "less_than_sign,shift+left", "Earlier", "Move half a picture to earlier steps", footer=False),
    Action("plot.later", "greater_than_sign,shift+right", "Later", "Move half a picture to later steps", footer=False),
    Action("plot.all", "0", "Whole run", "Show all steps on a linear axis, without cursor", footer=False),
    Action("plot.log", "e", "Logarithmic", "Switch the axis of values between linear and powers of ten", footer=False),
    Action("plot.smooth", "t", "Smoothing", "Next strength of the moving average: off, light, medium, strong", footer=False),
    Action("runlog.down", "down,j", "Down", "Next line", footer=False),
    Action("runlog.up", "up,k", "Up", "Previous line; the log stays there until it is followed again", footer=False),
    Action("runlog.first", "home,g", "Top", "First line", footer=False),
    Action("runlog.last", "end,G", "End", "Last line, and follow what comes", footer=False),
    Action("runlog.half_down", "pagedown,ctrl+d", "Half page down", "Move half a page down", footer=False),
    Action("runlog.half_up", "pageup,ctrl+u", "Half page up", "Move half a page up", footer=False),
    Action("runlog.follow", "f", "Follow", "Stay at the newest line, or stop doing so", footer=False),
    Action("runlog.next", "n", "Next match", "Next line with the text that was searched", footer=False),
    Action("runlog.previous", "N", "Previous match", "Previous line with the text that was searched", footer=False),
    Action("runlog.clear", "escape", "End search", "Forget what was searched", footer=False),
    # Dialogs
    Action("dialog.accept", "ctrl+s", "Do it", "Do what the dialog offers"),
    Action("dialog.close", "escape", "Close", "Close without doing anything"),
    Action("dialog.copy", "y", "Copy", "Copy the text of the dialog", footer=False),
    Action("pick.close", "escape", "Close", "Close without choosing"),
    Action("pick.down", "down", "Down", "Next entry", footer=False),
    Action("pick.up", "up", "Up", "Previous entry", footer=False),
    Action("pick.complete", "tab", "Complete", "Complete the path that is being typed"),
    Action("pick.accept", "ctrl+s", "Take", "Take what is marked, where several can be"),
)  # fmt: skip

SCOPE_TITLES: dict[str, str] = {
    "app": "Everywhere", "home": "Home", "catalog": "Catalog", "new": "New run", "run": "Run", "chat": "Chat",
    "compare": "Compare", "doctor": "Doctor", "log": "Log", "settings": "Settings",
    "methods": "Methods", "preview": "Data of a new run", "words": "The same in words",
    "list": "Lists and texts", "plot": "Curves", "runlog": "A run's log", "form": "Forms", "dialog": "Dialogs", "pick": "Choosers",
}  # fmt: skip

WIDGETS = ("list", "form")
"""Scopes of widgets, which have the focus inside a screen or a dialog."""
PANES = {"plot": ("run", "compare"), "runlog": ("run",)}
"""Scopes of widgets that only some screens have, and those."""
DIALOGS = ("dialog", "pick", "words")
"""Scopes of dialogs, which shut out the screen below and the app."""


def of_scope(scope: str) -> list[Action]:
    """The actions of a scope, in order."""
    return [action for action in ACTIONS if action.scope == scope]


def by_id(identifier: str) -> Action:
    """The action with this id; a ``KeyError`` is a mistake in the program."""
    for action in ACTIONS:
        if action.id == identifier:
            return action
    raise KeyError(identifier)


def bindings(scope: str) -> list[BindingType]:
    """Textual bindings of a scope: one a key, all with the action's id (a keymap can remap them) and tooltip."""
    made: list[BindingType] = []
    for action in of_scope(scope):
        for key in filter(None, action.keys.split(",")):
            command, always = f"act('{action.id}')", action.id == "app.leave"
            made.append(Binding(key, command, action.title, action.footer, priority=always, tooltip=action.tooltip, id=action.id))
    return made


class Acting:
    """Mixed into whoever owns a scope: runs ``do_<name>``, or says why not."""

    def why_not(self, name: str) -> str:
        """Why the action ``name`` cannot be done now; empty when it can."""
        return ""

    def action_act(self, identifier: str) -> Any:
        """What every binding calls; returns an awaitable where the method is a coroutine."""
        name = by_id(identifier).name
        reason = self.why_not(name)
        if reason:
            self.app.notify(reason, severity="warning", timeout=4)  # type: ignore[attr-defined]
            return None
        return getattr(self, f"do_{name}")()

    def key(self, identifier: str) -> str:
        """The first key of an action, as people write it."""
        keymap = self.app.keymap  # type: ignore[attr-defined]
        return keymap.label(keymap.keys(by_id(identifier))[0])

    def keys_line(self, *parts: tuple[str, str]) -> str:
        """The last line of a dialog: see `keymap.Keymap.line`."""
        return self.app.keymap.line(*parts)  # type: ignore[attr-defined]
