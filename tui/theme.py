"""Colours: one accent, three greys (text, muted, faint), and red, amber, green for states only.

Text stands at 4.5:1 or more on every background, faint remarks at 3:1; all of it at 7:1 in the theme of high contrast (a test computes it).
"""

from __future__ import annotations

from textual.theme import Theme


def _variables(muted: str, faint: str, rule: str, chosen: str) -> dict[str, str]:
    return {
        "muted": muted, "faint": faint, "rule": rule, "chosen": chosen,
        "footer-background": "transparent", "block-cursor-text-style": "bold", "input-cursor-text-style": "reverse",
        "scrollbar": rule, "scrollbar-background": "transparent", "scrollbar-hover": faint, "scrollbar-active": muted,
        "scrollbar-background-hover": "transparent", "scrollbar-background-active": "transparent", "scrollbar-corner-color": "transparent",
    }  # fmt: skip


DARK = Theme(
    name="finetui-dark", dark=True,
    primary="#7cc4c0", secondary="#7cc4c0", accent="#7cc4c0",
    foreground="#d5d9e0", background="#14171c", surface="#14171c", panel="#1a1e25",
    warning="#d9b26f", error="#e07a7a", success="#8fbf8a",
    variables=_variables(muted="#8b93a1", faint="#6e7684", rule="#343b46", chosen="#232a33"),
)  # fmt: skip
LIGHT = Theme(
    name="finetui-light", dark=False,
    primary="#0f6f6b", secondary="#0f6f6b", accent="#0f6f6b",
    foreground="#22272e", background="#f7f7f4", surface="#f7f7f4", panel="#eeeeea",
    warning="#8a5a00", error="#b3261e", success="#2f6f2a",
    variables=_variables(muted="#5d6570", faint="#7a818a", rule="#c9ccd0", chosen="#e3e6e4"),
)  # fmt: skip
CONTRAST = Theme(
    name="finetui-contrast", dark=True,
    primary="#6cf0e8", secondary="#6cf0e8", accent="#6cf0e8",
    foreground="#ffffff", background="#000000", surface="#000000", panel="#101010",
    warning="#ffd75f", error="#ffa8a8", success="#8df08a",
    variables=_variables(muted="#dddddd", faint="#c4c4c4", rule="#9a9a9a", chosen="#303030"),
)  # fmt: skip
"""Every text at 7:1 or more on every background that it stands on (WCAG AAA)."""

_ANSI_NAMES = {
    "ansi-background": "ansi_black", "ansi-foreground": "ansi_white", "border-blurred": "ansi_black",
    "block-cursor-foreground": "ansi_black", "block-cursor-background": "ansi_white",
    "input-cursor-background": "ansi_white", "input-cursor-foreground": "ansi_black",
    "input-selection-background": "ansi_bright_blue", "input-selection-foreground": "ansi_black",
    "screen-selection-background": "ansi_bright_blue", "screen-selection-foreground": "ansi_black",
}  # fmt: skip
"""What Textual's stylesheet asks of a theme that uses the terminal's own colours."""

SIXTEEN = Theme(
    name="finetui-16", dark=True, ansi=True,
    primary="ansi_cyan", secondary="ansi_cyan", accent="ansi_cyan", boost="ansi_default",
    foreground="ansi_default", background="ansi_default", surface="ansi_default", panel="ansi_default",
    warning="ansi_yellow", error="ansi_red", success="ansi_green",
    variables=_variables(muted="ansi_white", faint="ansi_bright_black", rule="ansi_bright_black", chosen="ansi_bright_black") | _ANSI_NAMES,
)  # fmt: skip

THEMES = (DARK, LIGHT, CONTRAST, SIXTEEN)
FALLBACK_VARIABLES: dict[str, str] = DARK.variables
"""Used by Textual's own themes, which do not know our greys."""
