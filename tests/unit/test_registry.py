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


def test_a_family_makes_plugins_that_nobody_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    points = {"toys:*": EntryPoint("toys:*", "support.toyfamily:Toys", registry.GROUPS["methods"])}
    monkeypatch.setattr(registry, "_points", lambda _: points)
    registry.load.cache_clear()
    try:
        assert registry.names("methods") == [] and registry.load_all("methods") == {}
        assert registry.members("methods") == ["toys:blue", "toys:red"]
        assert registry.knows("methods", "toys:red") and not registry.knows("methods", "toys:green")
        assert registry.load("methods", "toys:red").name == "toys:red"
        with pytest.raises(NotFound, match="no toy is green"):
            registry.load("methods", "toys:green")
        with pytest.raises(registry.BrokenPlugin, match="is not a Method"):
            registry.load("methods", "toys:odd")
    finally:
        registry.load.cache_clear()
