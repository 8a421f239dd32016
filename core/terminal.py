"""Drawing a person's attention through the terminal: bell, title, and the desktop notification of OSC 9."""

from __future__ import annotations

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
        sequences += f"\x1bPtmux;{notification.replace(chr(27), chr(27) * 2)}\x1b\\" if environment.get("TMUX") else notification
    if settings.bell:
        sequences += f"\x1b]2;{text}\x07\x07"
    return sequences
