"""The catalog as lines: models with their adapters below them, and the details of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from textual.content import Content

from .format import clock, duration, figure, human_bytes, human_count
from .glyphs import Glyphs, padded, shorten
from .runlines import pair
from .widgets.fields import show_value

if TYPE_CHECKING:
    from ..core.catalog.entries import AdapterEntry, ModelEntry

Entry = Any
"""A `ModelEntry` or an `AdapterEntry`."""


def is_model(entry: Entry) -> bool:
    """Whether an entry is a base (or merged, or fully trained) model rather than an adapter."""
    return hasattr(entry, "architecture")


def identifier(entry: Entry) -> str:
    """Unique among the lines: a full fine-tune is listed once, as a model."""
    return f"{'model' if is_model(entry) else 'adapter'}:{entry.path}"


def tree(
    models: Sequence[ModelEntry], adapters: Sequence[AdapterEntry], words: str = "", sort: str = "name"
) -> list[tuple[Entry | None, str]]:
    """Entries in the order they are shown, each with its indentation (``""`` or ``child``); ``None`` heads those without a base.

    Args:
        words: all must occur in an entry, ``#tag`` as one of its tags; a model stays when one of its adapters matches.
        sort: one of `core.catalog.entries.ADAPTER_SORTS`, for the models and for the adapters of each.
    """
    from ..core.catalog.entries import SORT_KEYS

    whole = {model.path for model in models}
    shown: list[tuple[Entry | None, str]] = []
    below: dict[str, list[Entry]] = {}
    for adapter in sorted(adapters, key=SORT_KEYS[sort]):
        if adapter.path not in whole and matches(adapter, words):
            below.setdefault(adapter.base_path if adapter.base_path in whole else "", []).append(adapter)
    for model in sorted(models, key=SORT_KEYS[sort]):
        mine = below.get(model.path, [])
        if mine or matches(model, words):
            shown.append((model, ""))
            shown += [(adapter, "child") for adapter in mine]
    loose = below.get("", [])
    if loose:
        shown.append((None, ""))
        shown += [(adapter, "child") for adapter in loose]
    return shown


def matches(entry: Entry, words: str) -> bool:
    """Whether every word occurs in what describes an entry."""
    text = " ".join([entry.name, entry.method, entry.base, *entry.tags, getattr(entry, "architecture", ""), entry.source]).lower()
    tags = [tag.lower() for tag in entry.tags]
    return all(word[1:] in tags if word.startswith("#") and word != "#" else word in text for word in words.lower().split())


def entry_line(entry: Entry, child: bool, glyphs: Glyphs, width: int, *, marked: bool = False) -> Content:
    """One line of the tree."""
    mark = f"{glyphs.marked if marked else glyphs.branch} " if child else ""
    name = max(14, width - 40)
    label = padded(shorten(mark + entry.name, name, glyphs), name)
    if is_model(entry):
        facts = [
            f"{human_count(entry.parameters):>7}",
            f"{_dtype(entry.dtype):<5}",
            f"{human_bytes(entry.size_bytes):>9}",
            f"{entry.source:<9}",
        ]
        style = "bold $foreground"
    else:
        kind = f"{entry.method or entry.peft_type.lower()}" + (f" r{entry.rank}" if entry.rank else "")
        facts = [
            f"{human_count(entry.parameters):>7}",
            f"{kind[:10]:<10}",
            f"{human_bytes(entry.size_bytes):>8}",
            f"{_loss(entry.metrics):>7}",
        ]
        style = "$foreground"
    if entry.problem:
        return Content.assemble((label, style), " ", (f"{glyphs.states['failed']} {shorten(entry.problem, 36, glyphs)}", "$error"))
    return Content.assemble((label, style), (" " + " ".join(facts), "$muted"))


def _dtype(name: str) -> str:
    return {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}.get(name, name[:5])


def _loss(metrics: Mapping[str, Any]) -> str:
    value = metrics.get("eval_loss", metrics.get("loss"))
    if isinstance(metrics.get("eval"), Mapping):
        value = metrics["eval"].get("loss", value)
    return figure(value) if isinstance(value, (int, float)) else ""


def details(entry: Entry, digest: str | None, glyphs: Glyphs) -> Content:
    """Everything known of an entry."""
    lines = [Content.styled(entry.name, "bold $foreground")]
    if entry.problem:
        lines.append(Content.styled(f"{glyphs.states['failed']} {entry.problem}", "$error"))
    facts = _model_facts(entry) if is_model(entry) else _adapter_facts(entry)
    facts += [
        ("size", human_bytes(entry.size_bytes)), ("digest", (digest or entry.digest or "")[:16]), ("run", entry.run),
        ("created", clock(entry.created) if entry.created else ""), ("tags", ", ".join(entry.tags)), ("folder", entry.path),
    ]  # fmt: skip
    lines += [pair(name, value, 12) for name, value in facts if value]
    for title, values in (("options", getattr(entry, "options", {})), ("metrics", getattr(entry, "metrics", {}))):
        if values:
            lines += [Content(""), Content.styled(title, "bold $muted")]
            lines += [Content.assemble((f"{name:<22} ", "$muted"), (_value(name, value), "$foreground")) for name, value in values.items()]
    return Content("\n").join(lines)


def _value(name: str, value: Any) -> str:
    """A figure with the unit that its name tells."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return show_value(value)
    if name.endswith("_bytes"):
        return human_bytes(value)
    if name == "seconds":
        return duration(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if value == round(value, 4) else figure(value, 4)


def _model_facts(entry: ModelEntry) -> list[tuple[str, str]]:
    chat = "has a chat template" if entry.chat_template else "no chat template: ### Instruction / ### Response"
    return [
        ("model", f"{entry.architecture}"), ("parameters", f"{entry.parameters:,}" if entry.parameters else ""), ("dtype", entry.dtype),
        ("source", entry.source), ("hub", f"{entry.hub_id} {entry.revision[:8]}".strip()), ("made from", entry.base),
        ("method", entry.method), ("task", entry.task), ("labels", ", ".join(entry.labels)),
        ("chat", chat if entry.task != "seq-cls" else ""),
    ]  # fmt: skip


def _adapter_facts(entry: AdapterEntry) -> list[tuple[str, str]]:
    base = entry.base + (" (not on this machine)" if entry.base_missing else "")
    return [
        ("method", f"{entry.method} {entry.peft_type and f'({entry.peft_type})'}".strip()), ("rank", str(entry.rank or "")),
        ("task", entry.task), ("labels", ", ".join(entry.labels)),
        ("base", base), ("base digest", entry.base_digest[:16]), ("base rev.", entry.base_revision[:12]),
        ("parameters", f"{entry.parameters:,}" if entry.parameters else ""), ("source", entry.source),
        ("hub", f"{entry.hub_id} {entry.revision[:8]}".strip()),
    ]  # fmt: skip
