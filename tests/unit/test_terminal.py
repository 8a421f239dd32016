"""The control sequences that draw attention, inside tmux and outside, and what the settings leave of them."""

from __future__ import annotations

from finetui.core.config import NotifySettings
from finetui.core.terminal import attention, clipboard


def test_outside_tmux() -> None:
    assert attention("done", NotifySettings(), {}) == "\x1b]9;done\x07\x1b]2;done\x07\x07"


def test_inside_tmux_the_notification_is_passed_through_with_its_escapes_doubled() -> None:
    assert attention("done", NotifySettings(bell=False), {"TMUX": "/tmp/tmux-0/default,1,0"}) == "\x1bPtmux;\x1b\x1b]9;done\x07\x1b\\"


def test_what_is_switched_off() -> None:
    assert attention("done", NotifySettings(desktop=False), {}) == "\x1b]2;done\x07\x07"
    assert attention("done", NotifySettings(bell=False, desktop=False), {}) == ""


def test_a_name_cannot_smuggle_sequences() -> None:
    assert attention("a\x1b]2;evil\x07\nb", NotifySettings(bell=False), {}) == "\x1b]9;a]2;evilb\x07"


def test_the_clipboard_is_that_of_the_terminal_outside_tmux_too() -> None:
    plain = "\x1b]52;c;5aW9\x07"
    assert clipboard("好", {}) == plain
    assert clipboard("好", {"TMUX": "/tmp/tmux-0/default,1,0"}) == plain + "\x1bPtmux;\x1b\x1b]52;c;5aW9\x07\x1b\\"
