"""Chinese in the terminal: a character takes two cells, and columns stay where they are."""

from __future__ import annotations

from finetui.tui.glyphs import UNICODE, beginning, padded, shorten, shorten_middle
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


def test_running_text_breaks_at_blanks_and_between_wide_characters() -> None:
    from finetui.tui.wrapping import line_spans

    def lines(text: str, width: int) -> list[str]:
        return [text[start:end] for start, end in line_spans(text, width)]

    assert lines("today 今天天气怎么样？请告诉我", 14) == ["today 今天天气", "怎么样？请告诉", "我"]
    assert lines("你好世界，再见", 8) == ["你好世", "界，再见"], "no line begins with a comma"
    assert lines("（测试）（测试）", 7) == ["（测", "试）", "（测", "试）"]
    assert lines("a  b   averylongwordwithoutblank end", 10) == ["a  b", "averylongw", "ordwithout", "blank end"]
    assert lines("def f():\n\n    return 1 + 2\n", 12) == ["def f():", "", "    return 1", "+ 2", ""]
    assert lines("", 5) == [""]
    assert lines("e\u0301e\u0301e\u0301", 2) == ["e\u0301e\u0301", "e\u0301"], "accents stay with their letters"
    text = "细胞理论是生物科学的一个理论, and its English name is cell theory；它认为所有生命体都由细胞构成。" * 5
    for width in range(4, 90):
        assert all(cell_len(line) <= width for line in lines(text, width))
        assert "".join(lines(text, width)).replace(" ", "") == text.replace(" ", ""), "nothing is lost"


def test_names_that_begin_alike_keep_their_ends() -> None:
    assert shorten_middle("qwen-compare-adapter", 20) == "qwen-compare-adapter"
    assert shorten_middle("qwen-compare-adapter", 13) == "qwen…-adapter"
    assert shorten_middle("细胞-比较-适配器", 11) == "细…-适配器"
    assert shorten_middle("qwen-compare-adapter", 4) == "qwe…"
