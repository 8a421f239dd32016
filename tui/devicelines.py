"""Devices as lines of text, for Home."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from .format import human_bytes, percent
from .glyphs import Glyphs, bar, shorten

if TYPE_CHECKING:
    from ..core.devices import Device

_MANY = 4
"""With more devices than this each gets one line."""


def device_lines(devices: Sequence[Device], glyphs: Glyphs, width: int) -> Content:
    """Devices with memory, how busy they are, what is wrong with them and who else uses them."""
    draw = _short if len(devices) > _MANY else _long
    lines = [line for device in devices for line in draw(device, glyphs, width)]
    return Content("\n").join(lines) if lines else Content.styled("looking for devices", "$muted")


def _long(device: Device, glyphs: Glyphs, width: int) -> list[Content]:
    lines = [Content.assemble((f"{device.id:<4}", "$accent"), (shorten(device.name, width - 5, glyphs), "$foreground"))]
    if device.usable:
        figures = f"{human_bytes(device.memory_used)} of {human_bytes(device.memory_total)}"
        lines.append(Content.assemble(("    " + bar(_share(device), 10, glyphs), "$accent"), (f"  {figures}", "$muted")))
        sensors = "   ".join(_sensors(device))
        lines += [Content.styled(f"    {sensors}", "$muted")] if sensors else []
    return lines + _remarks(device, glyphs, width)


def _short(device: Device, glyphs: Glyphs, width: int) -> list[Content]:
    if not device.usable:
        return [Content.assemble((f"{device.id:<6}", "$accent"), (_problem(device, glyphs, width - 6), "$error"))]
    busy = percent(device.utilisation / 100) if device.utilisation is not None else ""
    heat = f"{device.temperature:.0f} °C" if device.temperature is not None else ""
    last = ("others", "$warning") if _strangers(device) else (heat, "$muted")
    figures = f" {human_bytes(device.memory_used):>7} {busy:>5}  "
    return [Content.assemble((f"{device.id:<6}{bar(_share(device), 6, glyphs)}", "$accent"), (figures, "$muted"), last)]


def _share(device: Device) -> float:
    return device.memory_used / device.memory_total if device.memory_total else 0.0


def _sensors(device: Device) -> list[str]:
    found = [
        f"{device.utilisation:.0f} % busy" if device.utilisation is not None else "",
        f"{device.cores} cores" if device.cores else "",
        f"{device.temperature:.0f} °C" if device.temperature is not None else "",
        f"{device.power:.0f} W" if device.power else "",
    ]
    return [text for text in found if text]


def _strangers(device: Device) -> list[str]:
    """Programs on the device that are not our runs', with their users."""
    return sorted({" of ".join(filter(None, (process.name or "?", process.user))) for process in device.processes if not process.run})


def _problem(device: Device, glyphs: Glyphs, width: int) -> str:
    return shorten(f"{glyphs.states['failed']} {device.problem}", width, glyphs)


def _remarks(device: Device, glyphs: Glyphs, width: int) -> list[Content]:
    lines = []
    if device.problem:
        lines.append(Content.styled("    " + _problem(device, glyphs, width - 4), "$muted" if device.usable else "$error"))
    strangers = _strangers(device)
    if strangers:
        held = sum(process.memory or 0 for process in device.processes if not process.run)
        text = f"{human_bytes(held)} held by {', '.join(strangers)}"
        lines.append(Content.styled("    " + shorten(text, width - 4, glyphs), "$warning"))
    return lines
