"""A small base model and small datasets that ship with FineTUI, so that the first run needs no download.

Standard library only: this module names the files, it does not read them. ``scripts/make_embedded.py`` made them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

BASE_MODEL_NAME = "finetui-mini"

HELD_OUT_PROMPTS: tuple[str, ...] = (
    "How many legs does a spider have?",
    "What is a volcano?",
    "How do you say hello in French?",
    "What is the capital of France?",
    "What sound does a cow make?",
    "What is the opposite of hot?",
    "What does a rabbit eat?",
    "What colour is the sky?",
    "Who bakes bread?",
    "What is the plural of mouse?",
    "What comes after Monday?",
    "What do you use to cut paper?",
    "Where do you borrow books?",
    "How many minutes are there in an hour?",
    "What is the past tense of go?",
    "What do bees make?",
)
"""Prompts the base model can answer, in no training file of the adapters: what an adapter does to them, it generalised."""

QUICK_SETTINGS: dict[str, Any] = {
    "learning_rate": 2e-3,
    "per_device_train_batch_size": 16,
    "max_steps": 60,
    "eval_steps": 20,
    "sample_prompts": [HELD_OUT_PROMPTS[0]],
}
"""Training options with which a LoRA adapter learns a visible behaviour in ten seconds on two CPU cores."""

_ROOT = Path(__file__).resolve().parent


def base_model_dir() -> Path:
    """The folder of the embedded base model, in the layout ``AutoModelForCausalLM.from_pretrained`` reads."""
    return _ROOT / "base"


def dataset_names() -> tuple[str, ...]:
    """The names `dataset` accepts, sorted: the stems of the shipped files."""
    return tuple(sorted(path.stem for path in (_ROOT / "data").iterdir() if path.suffix in {".jsonl", ".txt"}))


def dataset(name: str) -> Path:
    """The file of the shipped dataset ``name`` (``"pirate"``, ``"json_eval"``, ...).

    Raises:
        KeyError: no dataset of that name is shipped.
    """
    for suffix in (".jsonl", ".txt"):
        path = _ROOT / "data" / f"{name}{suffix}"
        if name in dataset_names() and path.is_file():
            return path
    raise KeyError(f"no embedded dataset {name!r}; there are {', '.join(dataset_names())}")
