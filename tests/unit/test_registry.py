"""Plugins: names without imports, one at a time, broken ones reported."""

from __future__ import annotations

import sys

import pytest
from finetui.core import registry
from finetui.core.api import CONTRACTS
from finetui.core.errors import NotFound


def test_every_group_has_a_contract_and_a_built_in() -> None:
    assert set(registry.GROUPS) == set(CONTRACTS)
    for kind in registry.GROUPS:
        assert registry.names(kind), f"no built-in {kind}"


def test_every_built_in_loads_and_names_itself() -> None:
    rows = [row for row in registry.describe_all() if row.package.startswith("finetui ")]
    assert [row for row in rows if row.error] == []
    for row in rows:
        assert registry.load(row.kind, row.name).name == row.name


def test_unknown_name_suggests_the_closest() -> None:
    with pytest.raises(NotFound) as caught:
        registry.load("methods", "qlroa")
    assert caught.value.exit_code == 3
    assert "'qlora'" in caught.value.hint


def test_loading_plugins_imports_no_torch() -> None:
    import subprocess

    script = (
        "import sys; from finetui.core import registry; registry.describe_all()\n"
        "print([name for name in ('torch', 'transformers', 'peft', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
