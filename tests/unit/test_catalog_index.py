"""The index is a cache: deleted, corrupt, old, new or shared by many processes, the catalog says the same."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from finetui.core.catalog.catalog import Catalog
from finetui.core.catalog.index import MIGRATIONS, Index, index_path
from finetui.core.paths import Home
from support.folders import make_adapter, make_model


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home").create()
    make_model(home.models / "m")
    make_adapter(home.adapters / "a", home.models / "m")
    return home


def spoil(path: Path, how: str) -> None:
    for name in (path.name + "-wal", path.name + "-shm"):
        path.with_name(name).unlink(missing_ok=True)
    if how == "deleted":
        path.unlink()
    elif how == "garbage":
        path.write_bytes(b"not a database" * 100)
    elif how == "torn":
        path.write_bytes(path.read_bytes()[:5000])
    elif how == "newer":
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
    elif how == "older":
        path.unlink()
        with sqlite3.connect(path) as connection:
            MIGRATIONS[0](connection)
            connection.execute("PRAGMA user_version = 1")


@pytest.mark.parametrize("how", ["deleted", "garbage", "torn", "newer", "older"])
def test_a_spoilt_index_comes_back(home: Home, how: str) -> None:
    catalog = Catalog(home)
    models, adapters = catalog.models(), catalog.adapters()
    catalog.close()
    spoil(home.index, how)
    again = Catalog(home)
    assert (again.models(), again.adapters()) == (models, adapters)
    again.close()
    with sqlite3.connect(home.index) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
        assert connection.execute("SELECT count(*) FROM entries").fetchone()[0] >= 2


def test_an_index_spoilt_while_open_is_replaced(home: Home) -> None:
    catalog = Catalog(home)
    models = catalog.models()
    catalog.close()
    catalog = Catalog(home)
    home.index.write_bytes(b"x" * home.index.stat().st_size)
    assert catalog.models() == models


def test_an_unwritable_home_is_listed_from_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert Catalog(Home(tmp_path / "file" / "home")).models()


def test_scans_are_remembered(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Catalog(home).models()
    monkeypatch.setattr("finetui.core.catalog.catalog.scan_model", lambda place: pytest.fail(f"{place.folder} was read again"))
    assert Catalog(home).models() == before


def test_many_processes_share_one_index(home: Home) -> None:
    code = (
        "import sys; from pathlib import Path; from finetui.core.paths import Home; from finetui.core.catalog.catalog import Catalog\n"
        "for _ in range(10): c = Catalog(Home(Path(sys.argv[1]))); assert len(c.models()) == 2 and len(c.adapters()) == 1; c.close()"
    )
    home.index.unlink(missing_ok=True)
    processes = [subprocess.Popen([sys.executable, "-c", code, str(home.root)]) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]


def test_the_index_of_a_network_home_is_local(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert index_path(home) == home.index
    monkeypatch.setattr("finetui.core.catalog.index._filesystem", lambda _: "nfs4")
    elsewhere = index_path(home)
    assert not elsewhere.is_relative_to(home.root)
    assert elsewhere != index_path(Home(home.root / "other"))


def test_the_catalog_imports_neither_torch_nor_the_hub(home: Home) -> None:
    code = (
        "import sys; from pathlib import Path; from finetui.core.paths import Home; from finetui.core.catalog.catalog import Catalog\n"
        "c = Catalog(Home(Path(sys.argv[1]))); c.models(); c.adapters()\n"
        "print([m for m in ('torch', 'transformers', 'peft', 'huggingface_hub', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(home.root)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_digests_are_forgotten_when_the_file_changes(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    file = tmp_path / "f"
    file.write_bytes(b"one")
    index.set_digest(file, file.stat(), "abc")
    assert index.digest(file) == "abc"
    file.write_bytes(b"three")
    assert index.digest(file) == ""
