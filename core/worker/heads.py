"""The head that a task puts on a base: which modules it is made of, so that every method trains and saves them."""

from __future__ import annotations

from typing import Any

_CLASSIFIERS = ("score", "classifier")


def mark_head(model: Any, missing: list[str]) -> None:
    """Note on a freshly loaded classifier which modules are its head.

    Args:
        missing: names of tensors that the base's files lack, which are random now (a classifier, BERT's pooler).
    """
    modules = [name for name in _CLASSIFIERS if hasattr(model, name)]
    modules += [name.rpartition(".")[0] for name in missing]
    model.task_head_modules = list(dict.fromkeys(modules))


def head_modules(model: Any) -> list[str]:
    """Paths of the modules of the task's head inside the base; empty for causal language models."""
    return list(getattr(model, "task_head_modules", ()))


def train_head(model: Any) -> None:
    """Let the head's parameters train."""
    for name in head_modules(model):
        model.get_submodule(name).requires_grad_(True)
