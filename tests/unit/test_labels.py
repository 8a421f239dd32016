"""Labels and the figures made of them."""

from __future__ import annotations

import pytest
from finetui.core.api import DataError, Encoded, Example
from finetui.core.data.labels import label_names, label_set, require_known
from finetui.core.data.shaping import recognise
from finetui.core.worker.classify import macro_f1
from finetui.core.worker.encoding import cut


def examples(*labels: str) -> list[Example]:
    return [Example(text="x", label=label, source=f"a.jsonl:{line}") for line, label in enumerate(labels, start=1)]


def test_labels_are_ordered_numbers_by_value_words_by_character() -> None:
    assert label_names(examples("10", "9", "b", "-1", "a", "9")) == ["-1", "9", "10", "a", "b"]
    assert label_set(examples("a")) == ["a"]
    with pytest.raises(DataError, match="every row, from a.jsonl:1 on, has the label 'a'"):
        label_names(examples("a", "a"))


def test_an_unknown_label_is_named_with_its_row_and_the_closest_known() -> None:
    with pytest.raises(DataError, match="a.jsonl:2: the label 'foxes' is not one of the training data") as refused:
        require_known(examples("fox", "foxes"), ["dog", "fox"])
    assert "'fox'" in refused.value.hint


def test_macro_f1_weighs_classes_alike_and_leaves_out_those_that_do_not_occur() -> None:
    """The figures of scikit-learn's ``f1_score(expected, predicted, average="macro")``."""
    assert macro_f1([0, 0, 0, 1], [0, 0, 0, 0]) == pytest.approx((6 / 7 + 0) / 2)
    assert macro_f1([2, 2, 5], [2, 2, 5]) == 1.0
    assert macro_f1([0, 1, 2, 2], [0, 2, 2, 1]) == pytest.approx((1 + 0 + 0.5) / 3)
    assert macro_f1([0], [1]) == 0.0


def test_the_same_rows_are_text_to_a_language_model_and_labelled_to_a_classifier() -> None:
    rows = [{"text": "x", "label": "a"}]
    assert recognise(rows).name == "text"
    assert recognise(rows, task="seq-cls").name == "classification"
    with pytest.raises(DataError) as refused:
        recognise([{"review": "x", "stars": 5}], task="seq-cls")
    assert "--columns text=review,label=stars" in refused.value.hint


def test_a_sequence_that_is_cut_keeps_its_closing_tokens() -> None:
    whole = Encoded([1, 5, 6, 7, 8, 2], [-100] * 6, "text", label=1, closing=1)
    shorter = cut(whole, 4)
    assert (shorter.input_ids, shorter.labels, shorter.label) == ([1, 5, 6, 2], [-100] * 4, 1)
