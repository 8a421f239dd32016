"""What is asked of the terminal itself: attention (bell, title, the desktop notification of OSC 9) and its clipboard (OSC 52)."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping

from .config import NotifySettings


def attention(text: str, settings: NotifySettings, environment: Mapping[str, str] = os.environ) -> str:
    """The control sequences that tell ``text``, as the settings allow; empty where nothing is wanted.

    Inside tmux, OSC 9 is wrapped so that it is passed through to the terminal outside (``allow-passthrough on``); the bell and the
    title are tmux's own to handle.
    """
    text = "".join(character for character in text if character.isprintable())
    sequences = ""
    if settings.desktop:
        notification = f"\x1b]9;{text}\x07"
        sequences += _outside(notification, environment)
    if settings.bell:
        sequences += f"\x1b]2;{text}\x07\x07"
    return sequences


def clipboard(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """The control sequence that copies ``text``, on the machine where the terminal runs: it works over SSH.

    tmux takes it for itself where ``set-clipboard on`` says so, and ignores it where not; the wrapped one goes to the terminal outside.
    """
    sequence = f"\x1b]52;c;{base64.b64encode(text.encode()).decode()}\x07"
    outside = _outside(sequence, environment)
    return sequence if outside == sequence else sequence + outside


def _outside(sequence: str, environment: Mapping[str, str]) -> str:
    """The sequence wrapped so that tmux passes it through to the terminal that it runs in."""
    return f"\x1bPtmux;{sequence.replace(chr(27), chr(27) * 2)}\x1b\\" if environment.get("TMUX") else sequence
