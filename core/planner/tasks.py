"""What a base becomes for a task: the description of the model that will be trained, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..api import Task
from ..modelspec import ModelSpec, TensorSpec, parameter_names

_OTHER_HEADS = ("lm_head.", "cls.", "score.", "classifier.", "pre_classifier.", "qa_outputs.", "embed_out.")
"""Beginnings of the names of heads, which another task's head replaces."""

_CLASSIFIERS = ("score.", "classifier.", "pre_classifier.")


def is_classifier(name: str) -> bool:
    """Whether a tensor is part of a classification head, by its name."""
    return name.startswith(_CLASSIFIERS)


def is_other_head(name: str) -> bool:
    """Whether a tensor is part of a head that a classifier has no use for."""
    return name.startswith(_OTHER_HEADS) and not is_classifier(name)


def choose_task(model: ModelSpec, columns: Mapping[str, str] | None = None) -> Task:
    """The task where none was asked for: what the model's kind allows, or the columns say.

    Encoders and folders that are classifiers already can only classify. Rows of text with labels do not decide by themselves: a
    language model learns their text. Whoever renames a column to ``label`` means it.
    """
    classifies = not model.is_decoder or model.architecture.endswith("ForSequenceClassification")
    return "seq-cls" if classifies or "label" in (columns or {}) else "causal-lm"


def for_task(model: ModelSpec, task: Task, num_labels: int = 2) -> ModelSpec:
    """``model`` as transformers loads it for ``task``.

    Args:
        num_labels: classes of ``seq-cls``.
    """
    if task == "causal-lm":
        return model
    head = _classifier(model, num_labels)
    body = {name: tensor for name, tensor in model.tensors.items() if not name.startswith(_OTHER_HEADS) and name not in head}
    tensors = {**body, **head}
    count = sum(tensors[name].elements for name in parameter_names(tensors, model.tie_word_embeddings))
    return replace(model, task=task, head=head, tensors=tensors, parameters=count)


def _classifier(model: ModelSpec, num_labels: int) -> dict[str, TensorSpec]:
    """The tensors of the classification head. Decoders have one matrix over the last token's state; BERT a pooler, which is
    part of the head where the base's files lack it, and a linear layer."""
    if model.is_decoder:
        return {"score.weight": TensorSpec((num_labels, model.hidden_size), "F32")}
    size = model.hidden_size
    head = {"classifier.weight": TensorSpec((num_labels, size), "F32"), "classifier.bias": TensorSpec((num_labels,), "F32")}
    if model.model_type == "bert" and not any("pooler.dense" in name for name in model.tensors):
        head |= {
            "bert.pooler.dense.weight": TensorSpec((size, size), "F32"),
            "bert.pooler.dense.bias": TensorSpec((size,), "F32"),
        }
    return head
