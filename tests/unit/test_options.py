"""An option is declared once; the form, the flag and the JSON Schema all come from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
from finetui.core.errors import UsageError
from finetui.core.options import describe, flattened, json_schema, option, parse, part, to_dict
from finetui.core.training import TrainingOptions


@dataclass(frozen=True)
class Sample:
    """Options of every kind."""

    r: int = option(16, "Rank.", minimum=1, maximum=1024)
    dropout: float = option(0.0, "Dropout.", minimum=0.0, maximum=1.0)
    rslora: bool = option(False, "Rank-stabilised scaling.")
    quant: Literal["nf4", "fp4"] = option("nf4", "Data type.")
    modules: list[str] | Literal["auto"] = option("auto", "Which modules.")
    bf16: bool | None = option(None, "Precision.")
    prompts: list[str] = option([], "Prompts.")


def test_describe_names_kinds_choices_and_defaults() -> None:
    rows = {row.name: row for row in describe(Sample)}
    assert [row.kind for row in rows.values()] == ["int", "float", "bool", "choice", "list", "bool", "list"]
    assert rows["quant"].choices == ("nf4", "fp4")
    assert rows["bf16"].optional and rows["bf16"].default is None
    assert rows["modules"].type_name == "list[str] | 'auto'"
    assert rows["rslora"].flag == "--rslora"


def test_parse_returns_typed_values_and_keeps_defaults() -> None:
    parsed = parse(Sample, {"r": 8, "modules": ["q_proj"], "dropout": 1})
    assert parsed == Sample(r=8, modules=["q_proj"], dropout=1.0)
    assert to_dict(parsed, changed_only=True) == {"r": 8, "modules": ["q_proj"], "dropout": 1.0}


def test_list_defaults_are_not_shared() -> None:
    first, second = Sample(), Sample()
    first.prompts.append("x")
    assert second.prompts == []


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        ({"zzz": 1}, "unknown option 'zzz'", "known option names"),
        ({"quan": "nf4"}, "unknown option 'quan' of method 'x'", "did you mean 'quant'?"),
        ({"r": "many"}, "Expected `int`", "r is int: Rank."),
        ({"quant": "int3"}, "Invalid enum value", "quant is 'nf4' | 'fp4'"),
        ({"r": 0}, "below its minimum 1", "Rank."),
        ({"dropout": 1.5}, "above its maximum 1", "Dropout."),
        ({"dropout": float("nan")}, "is not a finite number", "Dropout."),
    ],
)
def test_bad_values_are_explained(values: dict, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(Sample, values, owner="method 'x'")
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.exit_code == 2


def test_json_schema_carries_help_and_ranges() -> None:
    schema = json_schema(Sample)
    assert schema["properties"]["r"] == {"type": "integer", "default": 16, "description": "Rank.", "minimum": 1, "maximum": 1024}
    assert schema["properties"]["quant"]["enum"] == ["fp4", "nf4"]


def test_training_options_are_spelt_as_in_the_field() -> None:
    """``--set`` keys are TrainingArguments names; what TrainingArguments lacks comes from TRL's SFTConfig or is ours."""
    from dataclasses import fields

    transformers = pytest.importorskip("transformers")
    known = {field.name for field in fields(transformers.TrainingArguments)}
    ours = {
        "max_length",
        "num_processes",
        "packing",
        "loss_on",
        "master_copy",
        "dropout",
        "overfitting_patience",
        "stop_on_overfitting",
        "stop_on_divergence",
        "early_stopping_patience",
        "sample_prompts",
        "sample_max_new_tokens",
        "save_minutes",
        "system_prompt",
    }
    assert {row.name for row in describe(TrainingOptions)} - known == ours


@dataclass(frozen=True)
class Inner:
    """Options of a part."""

    r: int = option(8, "Rank.", minimum=1)
    names: list[str] | None = option(None, "Names.")


@dataclass(frozen=True)
class Composed:
    """Options of a method made of parts."""

    steps: int = option(1, "Steps.")
    lora: Inner = part(Inner(r=4))
    other: Inner = part(Inner())


def test_options_of_parts_are_known_by_part_and_key() -> None:
    rows = {row.name: row for row in describe(Composed)}
    assert list(rows) == ["steps", "lora.r", "lora.names", "other.r", "other.names"]
    assert (rows["lora.r"].default, rows["other.r"].default, rows["lora.r"].group) == (4, 8, "Lora")
    assert rows["lora.r"].flag == "--lora.r"
    parsed = parse(Composed, {"lora.names": ["q"], "other.r": 2})
    assert parsed == Composed(lora=Inner(r=4, names=["q"]), other=Inner(r=2))
    assert to_dict(parsed, changed_only=True) == {"lora.names": ["q"], "other.r": 2}
    assert parse(Composed, to_dict(parsed)) == parsed
    schema = json_schema(Composed)["properties"]
    assert schema["lora.r"] == {"type": "integer", "default": 4, "description": "Rank.", "minimum": 1} and "lora" not in schema


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        ({"lora.r": 0}, "option 'lora.r' is 0, below its minimum 1", "Rank."),
        ({"lora.r": "x"}, "Expected `int`", "lora.r is int: Rank."),
        ({"lora.rank": 1}, "unknown option 'lora.rank'", "lora.r"),
        ({"lora": 1}, "unknown option 'lora'", ""),
    ],
)
def test_bad_values_of_parts_are_explained(values: dict, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(Composed, values)
    assert message in caught.value.message and hint in caught.value.hint


def test_tables_of_parts_are_spread_out() -> None:
    """TOML reads ``lora.r = 8`` as a table; a table that is one option's value stays."""
    known = {row.name for row in describe(Composed)} | {"pattern"}
    assert flattened({"lora": {"r": 8}, "steps": 2, "pattern": {"a": 1}}, known) == {"lora.r": 8, "steps": 2, "pattern": {"a": 1}}
