"""Reading data files: every kind, and every way in which one can be malformed."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from finetui.core.data import jsonrows
from finetui.core.data.fingerprint import fingerprint
from finetui.core.data.reading import rows, scan
from finetui.core.errors import DataError, NotFound
from support.rows import ALPACA, PROMPT_RESPONSE, write_rows


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def read(path: Path) -> list[tuple[dict[str, Any], str]]:
    return list(rows(path))


def problem(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        read(path)
    assert caught.value.exit_code == 2
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("kind", [".json", ".jsonl", ".csv", ".tsv", ".parquet"])
def test_rows_come_back_as_written(tmp_path: Path, kind: str) -> None:
    path = write_rows(tmp_path / f"rows{kind}", ALPACA)
    assert [row for row, _ in read(path)] == ALPACA


def test_json_lines_name_the_line_and_skip_blank_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"a": 1}\n\n  \n{"a": 2}\r\n{"a": 3}')
    assert read(path) == [({"a": 1}, f"{path}:1"), ({"a": 2}, f"{path}:4"), ({"a": 3}, f"{path}:5")]


def test_only_a_newline_ends_a_json_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"a": "x\u2028y\u0085z"}\n{"a": 2}\n')
    assert [source for _, source in read(path)] == [f"{path}:1", f"{path}:2"]


def test_json_array_names_the_line_each_row_starts_on(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '[\n  {"a":\n   1},\n  {"a": 2}, {"a": 3}\n]\n')
    assert [source.removeprefix(str(path)) for _, source in read(path)] == [":2", ":4", ":4"]


@pytest.mark.parametrize("key", ["data", "rows", "train", "examples"])
def test_json_object_may_hold_the_rows(tmp_path: Path, key: str) -> None:
    path = write(tmp_path / "a.json", json.dumps({"version": 1, key: [{"a": 1}, {"a": 2}]}))
    assert read(path) == [({"a": 1}, f"{path}: row 1"), ({"a": 2}, f"{path}: row 2")]


@pytest.mark.parametrize("name", ["lines.json", "array.jsonl", "no-ending", "other.dat"])
def test_content_decides_where_the_name_misleads(tmp_path: Path, name: str) -> None:
    content = '[{"a": 1}, {"a": 2}]' if name == "array.jsonl" else '{"a": 1}\n{"a": 2}\n'
    assert [row for row, _ in read(write(tmp_path / name, content))] == [{"a": 1}, {"a": 2}]


def test_parquet_under_another_name(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.parquet", ALPACA).rename(tmp_path / "train-00000")
    assert [row for row, _ in read(path)] == ALPACA
    assert [source for _, source in read(path)][-1] == f"{path}: row 3"


def test_byte_order_marks_are_left_out(tmp_path: Path) -> None:
    bom = b"\xef\xbb\xbf"
    for name, content in {"a.jsonl": b'{"a": "1"}', "a.json": b'[{"a": "1"}]', "a.csv": b"a\n1\n"}.items():
        assert [row for row, _ in read(write(tmp_path / name, bom + content))] == [{"a": "1"}]
    assert [row for row, _ in read(write(tmp_path / "a.txt", bom + b"word"))] == [{"text": "word"}]


def test_csv_cells_over_several_lines_keep_the_right_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'prompt,response\r\n"one\ntwo\nthree",x\r\n\r\n"say ""hi""",y\r\n')
    assert read(path) == [
        ({"prompt": "one\ntwo\nthree", "response": "x"}, f"{path}:2"),
        ({"prompt": 'say "hi"', "response": "y"}, f"{path}:6"),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_delimiter_is_the_headers(tmp_path: Path, delimiter: str) -> None:
    path = write(tmp_path / "a.csv", f"prompt{delimiter}response\nq{delimiter}a\n")
    assert [row for row, _ in read(path)] == [{"prompt": "q", "response": "a"}]


def test_csv_takes_cells_beyond_the_standard_limit(tmp_path: Path) -> None:
    long = "word " * 60_000
    path = write_rows(tmp_path / "a.csv", [{"prompt": long, "response": "x"}])
    assert read(path)[0][0]["prompt"] == long


def test_text_is_parted_by_blank_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\n\none\r\n still one\n\n \ntwo\n")
    assert read(path) == [({"text": "one\n still one"}, f"{path}:3"), ({"text": "two"}, f"{path}:7")]


def test_text_without_blank_lines_has_a_document_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.md", "one\r\ntwo\nthree\n\n")
    assert read(path) == [({"text": "one"}, f"{path}:1"), ({"text": "two"}, f"{path}:2"), ({"text": "three"}, f"{path}:3")]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": 2,}\n', ":2: column 9: malformed JSON"),
        ("a.jsonl", '{"a": 1}\n{"a": "cut', ":2: column 7: malformed JSON: Unterminated string"),
        ("a.jsonl", '{"a": 1} {"a": 2}\n', ":1: column 10: malformed JSON: Extra data at '{\"a\": 2}'"),
        ("a.jsonl", '{"a": 1}\n42\n', ":2: the row is a number, not an object"),
        ("a.jsonl", '{"a": 1}\n["a"]\n', ":2: the row is a list, not an object"),
        ("a.jsonl", '{"a": 1}\nnull\n', ":2: the row is null, not an object"),
        ("a.jsonl", b'{"a": 1}\n{"a": "caf\xe9"}\n', ":2: byte 11 of the line (0xe9) is not UTF-8"),
        ("a.jsonl", "\ufeff{}".encode("utf-16-le"), ":1: the file is UTF-16, not UTF-8"),
        ("a.jsonl", '{"a": ' + "[" * 200_000, ":1: JSON nested too deeply"),
        ("a.json", '[\n{"a": 1},\n{"a" 2}\n]', ":3: column 6: malformed JSON: Expecting ':' delimiter"),
        ("a.json", '[\n{"a": 1}\n{"a": 2}\n]', ":3: column 1: malformed JSON: Expecting ',' or ']'"),
        ("a.json", '[\n{"a": 1},\n]', ":3: column 1: malformed JSON: a comma before the closing ']'"),
        ("a.json", '[{"a": 1},\n{"a": 2}', ":2: column 9: malformed JSON: Expecting ',' or ']' where the text ends"),
        ("a.json", '[{"a": 1},\n{"a": "to', ":2: column 7: malformed JSON: Unterminated string"),
        ("a.json", '[\n{"a": 1},\n "text"]', ":3: the row is a string, not an object"),
        ("a.json", b'\xef\xbb\xbf[\n{"a": "\xff"}]', ":2: byte 8 of the line (0xff) is not UTF-8"),
        ("a.json", "\ufeff[]".encode("utf-16-le"), ":1: the file is UTF-16, not UTF-8"),
        ("a.json", "[" * 200_000, ":1: JSON nested too deeply"),
        ("a.csv", 'a,b\n1,2\n"x\ny",3,4\n', ":3: the row has 3 cells, the header 2"),
        ("a.csv", 'a,b\n1,2\n"never closed,3\n', ":3: not readable as CSV"),
        ("a.csv", "a,,b\n1,2,3\n", ":1: column 2 of the header has no name"),
        ("a.csv", "a,b,a\n1,2,3\n", ":1: the header names 'a' twice"),
        ("a.csv", b"a,b\n1,2\n\xff,3\n", ":3: byte 1 of the line (0xff) is not UTF-8"),
        ("a.txt", b"fine\nna\xefve\n", ":2: byte 3 of the line (0xef) is not UTF-8"),
        ("a.parquet", b"PAR1 and nothing that follows", ": not readable as Parquet"),
        ("a.parquet", b"not parquet at all", ": not readable as Parquet"),
        ("a.xlsx", b"PK\x03\x04", ": not a data file that is known"),
    ],
)
def test_malformed_files_are_named_with_their_place(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    path = write(tmp_path / name, content)
    assert problem(path).message.startswith(f"{path}{said}")


@pytest.mark.parametrize("content", ["", "\n \n", "[]"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.txt"])
def test_empty_files_are_refused(tmp_path: Path, name: str, content: str) -> None:
    path = write(tmp_path / name, "" if name == "a.txt" and content == "[]" else content)
    assert problem(path).message == f"{path}: the file has no rows"


def test_tables_without_rows_are_refused(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"prompt": pyarrow.array([], pyarrow.string())}), tmp_path / "a.parquet")
    for path in (write(tmp_path / "a.csv", "prompt,response\n"), write(tmp_path / "b.csv", ""), tmp_path / "a.parquet"):
        assert problem(path).message == f"{path}: the file has no rows"


def test_cut_parquet_file(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.parquet", ALPACA)
    write(path, path.read_bytes()[:-20])
    assert problem(path).message.startswith(f"{path}: not readable as Parquet")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        read(tmp_path / "absent.jsonl")
    assert "is a folder" in problem(tmp_path).message


@pytest.mark.parametrize("kind", [".jsonl", ".json", ".csv"])
def test_files_are_streamed(tmp_path: Path, kind: str) -> None:
    path = write_rows(tmp_path / f"big{kind}", [{"prompt": "q" * 500, "response": "a" * 500}] * 8_000)
    tracemalloc.start()
    count = sum(1 for _ in rows(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 8_000
    assert peak < path.stat().st_size / 8


def test_fingerprint_follows_contents_and_order_not_names(tmp_path: Path) -> None:
    first, second = write_rows(tmp_path / "a.jsonl", ALPACA), write_rows(tmp_path / "b.jsonl", PROMPT_RESPONSE)
    digest = fingerprint([first, second])
    assert digest != fingerprint([second, first])
    assert digest == fingerprint([first.rename(tmp_path / "c.jsonl"), second])
    whole = write(tmp_path / "whole.jsonl", (tmp_path / "c.jsonl").read_bytes() + second.read_bytes())
    assert fingerprint([whole]) != digest
    with pytest.raises(NotFound):
        fingerprint([tmp_path / "absent"])


@pytest.mark.parametrize(
    ("name", "count", "columns"),
    [
        ("alpaca_en_demo.json", 999, {"instruction", "input", "output"}),
        ("alpaca_zh_demo.json", 1000, {"instruction", "input", "output"}),
        ("dpo_en_demo.json", 300, {"conversations", "chosen", "rejected"}),
        ("c4_demo.jsonl", 300, {"text"}),
        ("wiki_demo.txt", 30, {"text"}),
        ("domains_train.jsonl", 1280, {"text", "label"}),
        ("domains_test.jsonl", 320, {"text", "label"}),
    ],
)
def test_real_files(shared_data: Any, name: str, count: int, columns: set[str]) -> None:
    found = read(shared_data(name))
    assert len(found) == count
    assert all(set(row) == columns for row, _ in found)


def test_real_json_rows_name_the_line_they_start_on(shared_data: Any) -> None:
    path = shared_data("alpaca_zh_demo.json")
    text = path.read_text(encoding="utf-8").split("\n")
    for row, source in read(path):
        line = int(source.rsplit(":", 1)[1])
        assert text[line - 1].strip() == "{"
        assert json.dumps(row["instruction"], ensure_ascii=False) in text[line]


def test_json_larger_than_what_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a block of the file ends in — a name, an escape, a number, half a character — rows and places stay the same."""
    rows: list[dict[str, Any]] = [{"a": 'é\n"😀\\', "n": -12.5e3, "t": True, "list": [None, {}]}, {"a": "中文" * 20}] * 3
    text = "\ufeff[\n" + ",\r\n ".join(json.dumps(row, ensure_ascii=number % 2 == 0) for number, row in enumerate(rows)) + "]\n"
    whole = write(tmp_path / "a.json", text)
    broken = write(tmp_path / "b.json", text.replace("-12.5e3", "-12.5e3 7").replace("-12500.0", "-12500.0 7"))
    expected, wrong = read(whole), problem(broken).message
    assert [row for row, _ in expected] == rows
    for size in (1, 2, 3, 7, 50):
        monkeypatch.setattr(jsonrows, "_CHUNK", size)
        assert read(whole) == expected
        assert problem(broken).message.split(" at ")[0] == wrong.split(" at ")[0]


def test_everything_wrong_in_a_table_is_found(tmp_path: Path) -> None:
    """Each fault is on its line, and the sound rows between them are read."""
    content = (
        b'a,b\n1,2\n3,"open\n4,5\n"quoted" twice,6\n7\n8,9\n\n"fine ""quotes""\nover two lines",10\n11,12,13\n'
        + b"\xff,14\n15,16\n"
        + '龘,"never\n17,18\n'.encode()
    )
    path = write(tmp_path / "a.csv", content)
    found = list(scan(path))
    faults = [entry.message.removeprefix(f"{path}:").split(":")[0] for entry in found if isinstance(entry, DataError)]
    assert faults == ["3", "5", "6", "11", "12", "14"]
    assert [entry[0]["a"] for entry in found if not isinstance(entry, DataError)] == [
        "1",
        "4",
        "8",
        'fine "quotes"\nover two lines',
        "15",
        "17",
    ]
