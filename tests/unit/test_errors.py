"""Errors keep their kind, hint and exit code across processes."""

from __future__ import annotations

import pytest
from finetui.core import errors
from finetui.core.errors import closest, error_from_dict


def family(cls: type[errors.FineTUIError]) -> list[type[errors.FineTUIError]]:
    return [cls, *(below for child in cls.__subclasses__() for below in family(child))]


@pytest.mark.parametrize("cls", family(errors.FineTUIError), ids=lambda cls: cls.__name__)
def test_round_trip(cls: type[errors.FineTUIError]) -> None:
    again = error_from_dict(cls("what happened", "what to do").to_dict())
    assert (again.kind, again.message, again.hint, again.exit_code) == (cls.kind, "what happened", "what to do", cls.exit_code)


def test_exit_codes_are_those_of_the_contract() -> None:
    assert errors.DiskError.exit_code == errors.NetworkError.exit_code == errors.TokenError.exit_code == 1
    assert errors.UsageError.exit_code == errors.DataError.exit_code == 2
    assert errors.NotFound.exit_code == 3
    assert {cls.exit_code for cls in family(errors.Refused)} == {4}


def test_closest() -> None:
    assert closest("lorra", ["lora", "full"]) == "did you mean 'lora'?"
    assert closest("zzz", ["lora", "full"], "method") == "known method names: full, lora"
    assert closest("zzz", [str(n) * 9 for n in range(100)]) == ""
