"""A form that fits a terminal: one line a field, moved through like a list, changed in place.

It draws its lines itself, so that forty options cost what one widget costs.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ..actions import Acting, bindings
from ..glyphs import UNICODE, Glyphs, beginning, shorten
from .fields import Field

_REVERSE = Style(reverse=True)


@dataclass
class _Line:
    """One line drawn: a heading, a field, or the line that unfolds the advanced ones."""

    text: str = ""
    field: Field | None = None


class _Editor:
    """The text being typed and the place of the cursor in it."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, len(text)

    def insert(self, text: str) -> None:
        text = "".join(text.splitlines())
        self.text = self.text[: self.at] + text + self.text[self.at :]
        self.at += len(text)

    def key(self, key: str) -> bool:
        """Handle an editing key; returns whether it was one."""
        if key == "backspace" and self.at:
            self.text, self.at = self.text[: self.at - 1] + self.text[self.at :], self.at - 1
        elif key == "delete":
            self.text = self.text[: self.at] + self.text[self.at + 1 :]
        elif key in ("left", "right"):
            self.at = min(len(self.text), max(0, self.at + (1 if key == "right" else -1)))
        elif key in ("home", "ctrl+a"):
            self.at = 0
        elif key in ("end", "ctrl+e"):
            self.at = len(self.text)
        elif key == "ctrl+u":
            self.text, self.at = self.text[self.at :], 0
        else:
            return key in ("backspace",)
        return True


class Form(ScrollView, Acting, can_focus=True):
    """Fields in groups. Posts `Changed`, `Picked` (a ``pick`` field wants its chooser), `Pressed` and `Moved`."""

    BINDINGS = bindings("form")
    COMPONENT_CLASSES = {
        "form--label", "form--value", "form--heading", "form--note", "form--changed", "form--error", "form--cursor", "form--edit",
        "form--button",
    }  # fmt: skip
    DEFAULT_CSS = """
    Form {
        height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden;
        & > .form--label { color: $muted; }
        & > .form--value { color: $foreground; }
        & > .form--heading { color: $muted; text-style: bold; }
        & > .form--note { color: $faint; }
        & > .form--changed { color: $accent; }
        & > .form--error { color: $error; }
        & > .form--cursor { background: $chosen; }
        &:ansi > .form--cursor { background: ansi_default; text-style: reverse; }
        & > .form--edit { color: $foreground; text-style: underline; }
        & > .form--button { color: $accent; text-style: bold; }
    }
    """

    @dataclass
    class Changed(Message):
        """A field has a new value (checked: see ``field.error``)."""

        form: Form
        field: Field

        @property
        def control(self) -> Form:
            """The form."""
            return self.form

    class Picked(Changed):
        """Enter on a ``pick`` field: its owner should offer a choice."""

    class Pressed(Changed):
        """Enter on a button."""

    class Moved(Changed):
        """The cursor is on another field."""

    def __init__(self, fields: list[Field] | None = None, *, id: str | None = None, glyphs: Glyphs = UNICODE) -> None:
        super().__init__(id=id)
        self.glyphs = glyphs
        self.fields: list[Field] = fields or []
        self.unfolded = False
        self.editor: _Editor | None = None
        self._edit_error = ""
        self._key = ""
        self._lines: list[_Line] = []
        self._widths: dict[bool, int] = {}
        self._layout_lines()

    # What is shown ----------------------------------------------------------------------------------------------------

    def show(self, fields: list[Field], cursor: str = "") -> None:
        """Show other fields; the cursor stays on the same key where it still exists."""
        self.fields, self.editor = fields, None
        self._key = cursor or self._key
        self._layout_lines()
        self.refresh()

    def field(self, key: str) -> Field:
        """The field with this key."""
        return next(field for field in self.fields if field.key == key)

    def set(self, key: str, value: object) -> None:
        """Set a value from outside, as if it had been typed."""
        field = self.field(key)
        field.set(value)
        self._tell(field)

    def fold(self, unfolded: bool) -> None:
        """Show or hide the advanced fields."""
        self.unfolded = unfolded
        self._layout_lines()
        self.refresh()

    def update_lines(self) -> None:
        """Draw again after notes or errors of fields were changed from outside."""
        self.refresh()

    @property
    def current(self) -> Field | None:
        """The field under the cursor."""
        return self._lines[self._at].field if self._lines else None

    def _layout_lines(self) -> None:
        lines: list[_Line] = []
        group, hidden = None, 0
        for field in self.fields:
            if field.advanced and not self.unfolded and not field.changed and not field.error:
                hidden += 1
                continue
            if field.group != group:
                group = field.group
                if group and lines:
                    lines.append(_Line())
                if group:
                    lines.append(_Line(group))
            lines.append(_Line(field=field))
        if hidden:
            lines += [_Line(), _Line(f"{self.glyphs.folded} {hidden} more: a")]
        self._lines = lines
        self._at = next((i for i, line in enumerate(lines) if line.field and line.field.key == self._key), -1)
        if self._at < 0:
            self._at = next((i for i, line in enumerate(lines) if line.field), 0)
            self._key = lines[self._at].field.key if lines and lines[self._at].field else ""  # type: ignore[union-attr]
        self._widths = {grouped: self._label_width(grouped) for grouped in (True, False)}
        self.virtual_size = Size(self.size.width, len(lines))

    def _label_width(self, grouped: bool) -> int:
        """Cells of labels: what stands above all groups has short names and much to be said of it."""
        return min(30, max((len(field.label) for field in self.fields if bool(field.group) == grouped), default=8) + 2)

    def on_resize(self) -> None:
        """Lines are as wide as the form."""
        self.virtual_size = Size(self.size.width, len(self._lines))

    def on_mount(self) -> None:
        """The size is known from here on."""
        self.virtual_size = Size(self.size.width, len(self._lines))

    def render_line(self, y: int) -> Strip:
        """One line of the form."""
        index = y + self.scroll_offset.y
        width = self.scrollable_content_region.width
        if index >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        line = self._lines[index]
        parts = self._field_parts(line.field, index == self._at, width) if line.field else [(" " + line.text, "heading")]
        chosen = index == self._at and line.field is not None and (self.has_focus or self.editor is not None)
        base = self.rich_style
        if chosen:
            base = base + self.get_component_rich_style("form--cursor", partial=True)
        segments = []
        for text, name in parts:
            style = base + self.get_component_rich_style(f"form--{name.removesuffix('!')}", partial=True) if name else base
            segments.append(Segment(text, style + _REVERSE if name.endswith("!") else style))
        return Strip(segments).adjust_cell_length(width, base)

    def _field_parts(self, field: Field, here: bool, width: int) -> list[tuple[str, str]]:
        if field.kind == "button":
            label = f" {self.glyphs.states['running']} {field.label}"
            note = shorten(field.note, max(4, width - cell_len(label) - 3), self.glyphs)
            return [(label, "button"), (f"   {note}", "error" if field.error else "note")]
        mark, labels = self.glyphs.changed if field.changed else " ", self._widths[bool(field.group)]
        parts = [(f" {mark} ", "changed"), (field.label.ljust(labels), "label")]
        room = max(4, width - labels - 4)
        if here and self.editor is not None:
            text, at = self.editor.text, self.editor.at
            before = beginning(text[:at][::-1], room - 2)[::-1]
            after = beginning(text[at + 1 :], room - 2 - cell_len(before))
            parts += [(before, "edit"), (text[at : at + 1] or " ", "edit!"), (after, "edit")]
            return [*parts, ("  " + self._edit_error, "error")]
        value = field.shown() + (f" {field.unit}" if field.unit and field.value is not None else "")
        if here and field.choices:
            value = f"{value}  ‹ ›" if self.glyphs.braille else f"{value}  < >"
        shown = shorten(value, room, self.glyphs)
        parts.append((shown, "note" if field.value is None else "value"))
        rest = room - cell_len(shown) - 2
        said = field.error or field.note or (f"was {Field('', '', '', field.default).shown() or 'empty'}" if field.changed else "")
        if said and rest > 3:
            parts.append(("  " + shorten(said, rest, self.glyphs), "error" if field.error else "note"))
        return parts

    # Moving -----------------------------------------------------------------------------------------------------------

    def move(self, by: int) -> None:
        """Move the cursor by so many fields."""
        places = [i for i, line in enumerate(self._lines) if line.field]
        if not places:
            return
        here = places.index(self._at) if self._at in places else 0
        self._at = places[min(len(places) - 1, max(0, here + by))]
        field = self._lines[self._at].field
        assert field is not None
        self._key = field.key
        top = 0 if self._at == places[0] else self._at - (1 if self._lines[self._at - 1].field is None else 0)
        self.scroll_to_region(Region(0, top, 1, self._at - top + 1), animate=False, force=True)
        self.refresh()
        self.post_message(self.Moved(self, field))

    def do_down(self) -> None:
        self.move(1)

    def do_up(self) -> None:
        self.move(-1)

    def do_first(self) -> None:
        self.move(-len(self._lines))

    def do_last(self) -> None:
        self.move(len(self._lines))

    def do_half_down(self) -> None:
        self.move(max(1, self.size.height // 2))

    def do_half_up(self) -> None:
        self.move(-max(1, self.size.height // 2))

    # Changing ---------------------------------------------------------------------------------------------------------

    def do_edit(self) -> None:
        """Enter: edit in place, switch, choose, or press."""
        field = self.current
        if field is None:
            return
        if field.kind == "pick":
            self.post_message(self.Picked(self, field))
        elif field.kind == "button":
            self.post_message(self.Pressed(self, field))
        elif field.kind == "bool" or (field.kind == "choice" and field.choices):
            self.do_toggle()
        else:
            self._start("" if field.value is None else field.shown())

    def do_toggle(self) -> None:
        self._cycle(1)

    def do_next(self) -> None:
        self._cycle(1)

    def do_previous(self) -> None:
        self._cycle(-1)

    def do_reset(self) -> None:
        """Back to the default."""
        field = self.current
        if field is not None and field.changed:
            field.set(field.default)
            self._tell(field)

    def _cycle(self, by: int) -> None:
        field = self.current
        if field is None:
            return
        if field.kind == "bool":
            choices: list[object] = [None, True, False] if field.optional else [True, False]
        elif field.choices:
            choices = [*([None] if field.optional else []), *field.choices]
        else:
            return
        at = choices.index(field.value) if field.value in choices else 0
        field.set(choices[(at + by) % len(choices)])
        self._tell(field)

    def _tell(self, field: Field) -> None:
        self._layout_lines()
        self.refresh()
        self.post_message(self.Changed(self, field))

    def _start(self, text: str) -> None:
        self.editor, self._edit_error = _Editor(text), ""
        self.refresh()

    def _editable(self) -> bool:
        field = self.current
        return field is not None and field.kind in ("int", "float", "str", "list", "dict")

    async def _on_key(self, event: events.Key) -> None:
        if self.editor is None:
            digit = event.character or ""
            if (
                self._editable()
                and self.current
                and (digit.isdigit() or (digit in "-." and digit))
                and self.current.kind in ("int", "float")
            ):
                self._start(digit)
                self._edit_error = self.current.try_text(digit)
                event.stop()
            return
        if event.key in ("ctrl+q", "ctrl+z", "ctrl+s", "f1"):
            if not self._finish(keep=event.key == "ctrl+s"):  # nothing starts with the old value while a wrong one is shown
                event.stop()
                event.prevent_default()
            return
        event.stop()
        event.prevent_default()
        self._type(event)

    def _type(self, event: events.Key) -> None:
        assert self.editor is not None and self.current is not None
        if event.key == "escape":
            self._finish(keep=False)
            return
        if event.key in ("enter", "tab", "shift+tab", "down", "up"):
            if not self._edit_error and self._finish(keep=True):
                self.move({"down": 1, "tab": 1, "up": -1, "shift+tab": -1}.get(event.key, 0))
            return
        if not self.editor.key(event.key) and event.is_printable and event.character:
            self.editor.insert(event.character)
        self._edit_error = self.current.try_text(self.editor.text)
        self.refresh()

    def _finish(self, *, keep: bool) -> bool:
        """Leave the editor; returns whether the field has a usable value."""
        assert self.editor is not None and self.current is not None
        field, text = self.current, self.editor.text
        if keep and field.try_text(text):
            self._edit_error = field.try_text(text)
            self.refresh()
            return False
        self.editor, self._edit_error = None, ""
        if keep:
            field.set(field.read(text))
            self._tell(field)
        self.refresh()
        return True

    def on_paste(self, event: events.Paste) -> None:
        """Paste into the field being edited; opens it where it can be typed into."""
        if self.editor is None and self._editable():
            self._start("")
        if self.editor is not None and self.current is not None:
            self.editor.insert(event.text)
            self._edit_error = self.current.try_text(self.editor.text)
            self.refresh()
            event.stop()

    def on_blur(self) -> None:
        """Leaving the form takes what was typed where it is usable."""
        if self.editor is not None:
            self._finish(keep=not self._edit_error)

    async def on_click(self, event: events.Click) -> None:
        """Click moves the cursor; click on the current field is Enter."""
        index = event.y + self.scroll_offset.y
        if index >= len(self._lines) or self._lines[index].field is None:
            return
        if index == self._at:
            self.do_edit()
        else:
            places = [i for i, line in enumerate(self._lines) if line.field]
            self.move(places.index(index) - (places.index(self._at) if self._at in places else 0))
