"""Dropout by the names that configurations have for it."""

from __future__ import annotations

import pytest
from finetui.core.dropout import dropout_settings
from finetui.core.errors import Incompatible


def test_the_settings_are_those_of_the_architecture() -> None:
    assert dropout_settings({"model_type": "qwen2"}, None) == {}
    assert dropout_settings({"model_type": "qwen2"}, 0.1) == {"attention_dropout": 0.1}
    assert dropout_settings({"model_type": "gpt2"}, 0.0) == {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    assert dropout_settings({"model_type": "new", "hidden_dropout": 0.3}, 0.2) == {"hidden_dropout": 0.2}
    with pytest.raises(Incompatible, match="'new' models have no dropout"):
        dropout_settings({"model_type": "new"}, 0.1)
