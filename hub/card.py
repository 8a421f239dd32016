"""The model card: a ``README.md`` whose YAML front matter the Hub indexes and whose text a person can use."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.catalog.digest import DELTA_FILE
from ..core.catalog.entries import AdapterEntry
from ..core.catalog.manifest import Manifest
from ..core.catalog.peftfiles import OWN_TYPE

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PIPELINES = {"seq-cls": "text-classification"}
_LIBRARIES = {"adapter": "peft", "model": "transformers", "delta": "finetui"}
_SHOWN_METRICS = ("eval_loss", "perplexity", "accuracy", "f1", "loss", "tokens", "steps", "trainable_parameters", "total_parameters")
_INDEXED_METRICS = ("eval_loss", "perplexity", "accuracy", "f1")


def model_card(entry: AdapterEntry, manifest: Manifest, repo: str, base_id: str, licence: Mapping[str, str] | None = None) -> str:
    """The card of an adapter.

    Args:
        manifest: as it will be published, without paths of this machine.
        base_id: the base's Hub id; empty: the base is named in words only.
        licence: what the base's own card says of its licence (`base_licence`).
    """
    name = repo.rsplit("/", 1)[-1]
    parts = [
        _front_matter(entry, manifest, name, base_id, licence or {}),
        f"# {name}",
        _what(entry, manifest, base_id),
        "## How to load it\n\n" + _loading(entry, manifest, repo, base_id),
        "## How it was trained\n\n" + _table("option", _options(manifest)),
    ]
    figures = finite(manifest.metrics)
    if figures:
        shown = {key: figures[key] for key in _SHOWN_METRICS if key in figures}
        parts.append("## Figures\n\n" + _table("metric", shown or figures))
    parts.append("## Limits\n\n" + _limits(entry, manifest))
    return "\n\n".join(parts) + "\n"


def split_card(text: str) -> tuple[dict[str, Any], str]:
    """A card's front matter and its text, to be shown; front matter that is not a YAML mapping counts as none.

    A card comes from anyone: control characters, which a terminal would obey, are left out.
    """
    text = _CONTROL.sub("", text.replace("\r\n", "\n"))
    lines = text.lstrip("\ufeff\n").split("\n")
    if lines[0].strip() != "---" or "---" not in (line.rstrip() for line in lines[1:]):
        return {}, text
    import yaml

    end = next(number for number, line in enumerate(lines[1:], 1) if line.rstrip() == "---")
    try:
        found = yaml.safe_load("\n".join(lines[1:end]))
    except (yaml.YAMLError, ValueError, RecursionError):
        found = None
    return (found if isinstance(found, dict) else {}), "\n".join(lines[end + 1 :]).strip("\n")


def finite(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers among ``metrics`` that are finite: the Hub refuses cards with others."""
    numbers = {key: value for key, value in metrics.items() if isinstance(value, (int, float)) and not isinstance(value, bool)}
    return {key: value for key, value in numbers.items() if math.isfinite(value)}


def base_licence(folder: Path) -> dict[str, str]:
    """``license``, ``license_name`` and ``license_link`` from the card of a model folder; what it does not say is left out."""
    card = folder / "README.md"
    if not card.is_file():
        return {}
    import yaml
    from huggingface_hub import metadata_load

    try:
        found = metadata_load(card) or {}
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return {key: found[key] for key in ("license", "license_name", "license_link") if isinstance(found.get(key), str)}


def _front_matter(entry: AdapterEntry, manifest: Manifest, name: str, base_id: str, licence: Mapping[str, str]) -> str:
    """YAML between dashes; values are written as JSON, which YAML contains."""
    is_adapter = entry.artifact == "adapter"
    pipeline = _PIPELINES.get(entry.task, "text-generation")
    fields: dict[str, Any] = dict(licence)
    if base_id:
        fields |= {"base_model": base_id, "base_model_relation": "adapter" if is_adapter else "finetune"}
    fields |= {"library_name": _LIBRARIES[entry.artifact], "pipeline_tag": pipeline}
    tags = [*([f"base_model:adapter:{base_id}"] if base_id and is_adapter else []), entry.method, "finetui", *entry.tags]
    fields["tags"] = list(dict.fromkeys(tag for tag in tags if tag))
    results = {key: value for key, value in finite(manifest.metrics).items() if key in _INDEXED_METRICS}
    if results:
        dataset = {"name": ", ".join(manifest.data.eval_files or manifest.data.files) or "unnamed", "type": "custom"}
        measured = [{"type": key, "value": value} for key, value in results.items()]
        fields["model-index"] = [{"name": name, "results": [{"task": {"type": pipeline}, "dataset": dataset, "metrics": measured}]}]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    return "\n".join(["---", *lines, "---"])


def _what(entry: AdapterEntry, manifest: Manifest, base_id: str) -> str:
    base = f"[{base_id}](https://huggingface.co/{base_id})" if base_id else f"`{manifest.base.name or 'an unnamed base model'}`"
    kinds = {"model": "fine-tune", "delta": "delta (the tensors that training changed)", "adapter": f"adapter ({entry.peft_type})"}
    kind = kinds[entry.artifact]
    text = f"A `{entry.method}` {kind} of {base}, {entry.parameters:,} parameters, made with FineTUI."
    if manifest.base.digest:
        text += f" The base's weight files have the sha256 digest `{manifest.base.digest}`"
        text += f" (revision `{manifest.base.revision}`)." if manifest.base.revision else "."
    return text


def _loading(entry: AdapterEntry, manifest: Manifest, repo: str, base_id: str) -> str:
    """Code that loads it; of a delta, first how FineTUI makes a whole model of it."""
    snippet = _snippet(entry, manifest, repo, base_id)
    if entry.artifact != "delta":
        return snippet
    name = repo.rsplit("/", 1)[-1]
    words = f"`{DELTA_FILE}` holds whole tensors that replace the base's of the same names. With FineTUI, as a model folder of its own:"
    commands = f"```sh\nfinetui pull {repo}\nfinetui export {name} --format safetensors --out {name}-whole\n```"
    return f"{words}\n\n{commands}\n\nWithout it:\n\n{snippet}"


def _snippet(entry: AdapterEntry, manifest: Manifest, repo: str, base_id: str) -> str:
    head = "SequenceClassification" if entry.task == "seq-cls" else "CausalLM"
    base = base_id or f"path/to/{manifest.base.name or 'the-base'}"
    if entry.artifact == "delta":
        classes = f", num_labels={len(manifest.labels)}" if manifest.labels else ""
        lines = ["from huggingface_hub import hf_hub_download", "from safetensors.torch import load_file",
                 f"from transformers import AutoModelFor{head}, AutoTokenizer", "",
                 f'model = AutoModelFor{head}.from_pretrained("{base}"{classes})',
                 f'delta = load_file(hf_hub_download("{repo}", "{DELTA_FILE}"))',
                 "assert not model.load_state_dict(delta, strict=False).unexpected_keys",
                 f'tokenizer = AutoTokenizer.from_pretrained("{base}")']  # fmt: skip
    elif entry.artifact == "model":
        lines = [f"from transformers import AutoModelFor{head}, AutoTokenizer", "", f'model = AutoModelFor{head}.from_pretrained("{repo}")',
                 f'tokenizer = AutoTokenizer.from_pretrained("{repo}")']  # fmt: skip
    else:
        named = f", num_labels={len(entry.labels)}, id2label={dict(enumerate(entry.labels))!r}" if entry.labels else ""
        own = ["import finetui.core.worker.tuners  # lets PEFT know this type of adapter"] if entry.peft_type == OWN_TYPE else []
        lines = [*own, "from peft import PeftModel", f"from transformers import AutoModelFor{head}, AutoTokenizer", "",
                 f'base = AutoModelFor{head}.from_pretrained("{base}"{named})', f'model = PeftModel.from_pretrained(base, "{repo}")',
                 f'tokenizer = AutoTokenizer.from_pretrained("{base}")']  # fmt: skip
    return "\n".join(["```python", *lines, "```"])


def _options(manifest: Manifest) -> dict[str, Any]:
    rows: dict[str, Any] = {"method": manifest.method, **manifest.method_options, **manifest.training_options, "seed": manifest.seed}
    if manifest.data.files:
        rows["data"] = ", ".join(manifest.data.files)
    if manifest.data.rows:
        rows["rows"] = manifest.data.rows
    if manifest.data.digest:
        rows["data sha256"] = manifest.data.digest
    if manifest.data.eval_files:
        rows["evaluation data"] = ", ".join(manifest.data.eval_files)
    if manifest.data.eval_digest:
        rows["evaluation data sha256"] = manifest.data.eval_digest
    if manifest.training_precision:
        rows["precision"] = manifest.training_precision
    return rows | {f"{package} version": version for package, version in manifest.versions.items()}


def _table(what: str, rows: Mapping[str, Any]) -> str:
    return "\n".join([f"| {what} | value |", "| --- | --- |", *(f"| {_cell(key)} | {_cell(value)} |" for key, value in rows.items())])


def _cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.replace("|", "\\|").replace("\n", " ")


def _limits(entry: AdapterEntry, manifest: Manifest) -> str:
    text = "It inherits the licence, limits and biases of the model it was made from."
    if entry.artifact != "model":
        text += " It works with that model only."
    measured = [key for key in finite(manifest.metrics) if key in _INDEXED_METRICS]
    if measured and manifest.data.eval_files:
        text += " The evaluation figures come from the evaluation data named above; no benchmark was run."
    elif measured:
        text += " The evaluation figures come from rows of its own training data that were kept for evaluation; no benchmark was run."
    return text
