"""The classes of a dataset: their names in order, and the number of each example's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..api import Example
from ..errors import DataError, closest


def label_names(examples: Iterable[Example]) -> list[str]:
    """The distinct labels in order: numbers by value, words by character.

    Raises:
        DataError: there are fewer than two of them.
    """
    names: dict[str, str] = {}
    for example in examples:
        if example.label is not None:
            names.setdefault(example.label, example.source)
    if len(names) < 2:
        only = next(iter(names.items()), None)
        what = f"every row, from {only[1]} on, has the label '{only[0]}'" if only else "no row has a label"
        raise DataError(f"{what}: there is nothing to tell apart", "give rows of at least two classes")
    return sorted(names, key=_order)


def _order(name: str) -> tuple[bool, int, str]:
    try:
        return False, int(name), name
    except ValueError:
        return True, 0, name


def label_set(examples: Iterable[Example]) -> list[str]:
    """The distinct labels in order, however few."""
    return sorted({example.label for example in examples if example.label is not None}, key=_order)


def require_known(examples: Iterable[Example], names: Sequence[str], whose: str = "the training data") -> None:
    """Refuse examples of classes that are not trained.

    Raises:
        DataError: names the first one by file and line.
    """
    known = set(names)
    for example in examples:
        if example.label not in known:
            raise unknown_label(example, names, whose)


def unknown_label(example: Example, names: Sequence[str], whose: str = "the training data") -> DataError:
    """What to say of an example whose label is none of ``names``."""
    return DataError(f"{example.source}: the label '{example.label}' is not one of {whose}", closest(example.label or "", names, "label"))
