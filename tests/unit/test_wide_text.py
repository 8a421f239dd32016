"""Chinese in the terminal: a character takes two cells, and columns stay where they are."""

from __future__ import annotations

from finetui.tui.glyphs import UNICODE, beginning, padded, shorten
from rich.cells import cell_len


def test_cutting_and_filling_count_cells() -> None:
    assert shorten("细胞理论是什么", 14) == "细胞理论是什么"
    assert shorten("细胞理论是什么", 13) == "细胞理论是什…"
    assert shorten("细胞理论是什么", 12) == "细胞理论是…"
    assert cell_len(shorten("a细胞理论是什么", 9)) <= 9
    assert beginning("中文", 3) == "中"
    assert beginning("中文", 0) == beginning("", 5) == beginning("中", -1) == ""
    assert cell_len(padded("中文", 9)) == 9
    assert padded("too long", 3) == "too long"


def test_lists_keep_their_columns() -> None:
    from finetui.tui.runlines import run_line
    from finetui.tui.watching import RunRow

    def line(name: str) -> str:
        row = RunRow(id="r", kind="train", name=name, state="failed", method="lora", error="out of memory")
        return run_line(row, UNICODE, 80).plain

    plain, wide, long = line("a plain name"), line("中文模型"), line("细胞理论是生物科学的一个理论，它认为所有生命体都由细胞构成")
    places = {cell_len(text[: text.index("failed")]) for text in (plain, wide, long)}
    assert len(places) == 1
    assert all(cell_len(text) <= 80 for text in (plain, wide, long))
