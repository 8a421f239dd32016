"""Safetensors headers: what passes loads, what is corrupt is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
from finetui.core.errors import CorruptFile, NotFound
from finetui.core.modelspec import TensorSpec
from finetui.core.planner.headers import read_header, read_headers, stored_bytes, weight_files
from safetensors.numpy import save_file


def _write(path: Path, header: object, data: bytes = b"") -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    tensors = {"b": numpy.zeros((2, 3), numpy.float32), "a": numpy.zeros(5, numpy.float16), "n": numpy.zeros((), numpy.int64)}
    save_file(tensors, file, metadata={"format": "pt"})
    return file


def test_reads_what_safetensors_writes(weights: Path) -> None:
    header = read_header(weights)
    assert header == {"n": TensorSpec((), "I64"), "b": TensorSpec((2, 3), "F32"), "a": TensorSpec((5,), "F16")}
    assert sum(stored_bytes(tensor) for tensor in header.values()) == 8 + 24 + 10


def test_truncated_file_names_expected_and_actual_bytes(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(CorruptFile, match=r"model\.safetensors is truncated: its tensors need 42 bytes, 38 are there"):
        read_header(weights)


def test_file_cut_inside_its_header(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:20])
    with pytest.raises(CorruptFile, match=r"truncated: its header needs [\d,]+ bytes, the file has 20"):
        read_header(weights)


@pytest.mark.parametrize("data", [b"", b"\x01\x02"])
def test_almost_empty_file(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(data)
    with pytest.raises(CorruptFile, match="truncated"):
        read_header(file)


def test_trailing_bytes(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes() + b"\0\0")
    with pytest.raises(CorruptFile, match="2 bytes that no tensor"):
        read_header(weights)


@pytest.mark.parametrize(
    ("header", "data", "problem"),
    [
        (b"not json", b"", "header is not JSON"),
        ([1], b"", "JSON object"),
        ({"w": {"dtype": "F32", "shape": [2]}}, b"\0" * 8, "w has no valid data_offsets"),
        ({"w": {"dtype": "F33", "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 8, "unknown dtype 'F33'"),
        ({"w": {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 8, "unknown dtype"),
        ({"w": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, b"\0" * 8, "no valid shape"),
        ({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, b"\0" * 8, "has 8 bytes, needs 12"),
        ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, b"\0" * 12, "starts at byte 4, expected 0"),
        ({"w": 3}, b"", "w has no valid data_offsets"),
    ],
)
def test_broken_headers_are_named(tmp_path: Path, header: object, data: bytes, problem: str) -> None:
    file = _write(tmp_path / "x.safetensors", header, data)
    with pytest.raises(CorruptFile, match=problem) as caught:
        read_header(file)
    assert str(file) in caught.value.message


def test_a_text_file_is_no_safetensors_file(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(CorruptFile, match="claims a header of"):
        read_header(file)


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_header(tmp_path / "x.safetensors")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    for number in (1, 2):
        save_file({f"t{number}": numpy.zeros(4, numpy.float32)}, tmp_path / f"model-{number}.safetensors")
    index = {"metadata": {}, "weight_map": {"t1": "model-1.safetensors", "t2": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    return tmp_path


def test_shards(sharded: Path) -> None:
    assert set(read_headers(sharded)) == {"t1", "t2"}
    assert [file.name for file in weight_files(sharded)] == ["model-1.safetensors", "model-2.safetensors"]


def test_missing_shard_is_named(sharded: Path) -> None:
    (sharded / "model-2.safetensors").unlink()
    with pytest.raises(CorruptFile, match=r"lacks the shard model-2\.safetensors"):
        read_headers(sharded)


def test_index_that_points_elsewhere(sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"t1": "../model-1.safetensors"}}))
    with pytest.raises(CorruptFile, match="not a safetensors file beside it"):
        read_headers(sharded)


def test_tensor_that_its_shard_lacks(sharded: Path) -> None:
    index = {"weight_map": {"t1": "model-1.safetensors", "t3": "model-2.safetensors"}}
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CorruptFile, match="lacks the tensor t3"):
        read_headers(sharded)


def test_folder_without_weights(tmp_path: Path) -> None:
    assert weight_files(tmp_path) == []
    with pytest.raises(NotFound):
        read_headers(tmp_path)
