"""Safetensors headers, read and checked without reading the weights.

The format: eight bytes of little-endian header length, a JSON object of tensor name → dtype, shape and byte offsets, then
the tensors end to end (https://github.com/huggingface/safetensors). Checked here is everything that a header promises, so
that a file which passes can be loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import msgspec

from ..errors import CorruptFile, NotFound
from ..fsio import disk_errors
from ..modelspec import TensorSpec

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_LENGTH_BYTES = 8
_MAX_HEADER = 100_000_000
_HINT = "fetch or copy the file again"

DTYPE_BITS: dict[str, int] = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I8": 8, "U8": 8, "BOOL": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
"""Bits of one element, by safetensors dtype."""


def read_header(file: Path) -> dict[str, TensorSpec]:
    """The tensors of one safetensors file, in the order of their data.

    Raises:
        NotFound: no such file.
        CorruptFile: the file is truncated, longer than its header says, or its header is not one.
        DiskError: the file cannot be read.
    """
    if not file.is_file():
        raise NotFound(f"{file} does not exist")
    with disk_errors(file), file.open("rb") as stream:
        size = file.stat().st_size
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        if size < _LENGTH_BYTES:
            raise CorruptFile(f"{file} is truncated: {size} bytes are too few for a safetensors header", _HINT)
        if length > _MAX_HEADER:
            raise CorruptFile(f"{file} is not a safetensors file: it claims a header of {length:,} bytes", _HINT)
        if _LENGTH_BYTES + length > size:
            raise CorruptFile(f"{file} is truncated: its header needs {_LENGTH_BYTES + length:,} bytes, the file has {size:,}", _HINT)
        raw = stream.read(length)
    return _check_entries(file, _decode(file, raw), size - _LENGTH_BYTES - length)


def read_headers(folder: Path) -> dict[str, TensorSpec]:
    """The tensors of a model folder: of ``model.safetensors``, else of the shards that its index lists.

    Raises:
        NotFound: the folder holds neither.
        CorruptFile: a file is corrupt, a shard is missing, or a tensor is not where the index says.
    """
    single = folder / SINGLE_FILE
    if single.is_file():
        return read_header(single)
    index = folder / INDEX_FILE
    if not index.is_file():
        raise NotFound(f"{folder} has no {SINGLE_FILE}", "a model folder holds config.json and safetensors weights")
    where = read_index(index)
    tensors: dict[str, TensorSpec] = {}
    for shard in sorted(set(where.values())):
        file = folder / shard
        if not file.is_file():
            raise CorruptFile(f"{folder} lacks the shard {shard} that {INDEX_FILE} lists", "fetch the missing file")
        tensors.update(read_header(file))
    for name, shard in where.items():
        if name not in tensors:
            raise CorruptFile(f"{folder / shard} lacks the tensor {name} that {INDEX_FILE} places there", _HINT)
    return tensors


def read_index(index: Path) -> dict[str, str]:
    """Tensor name → shard file name, from ``model.safetensors.index.json``.

    Raises:
        CorruptFile: the index is not one, or names a file outside its folder.
    """
    content = _decode(index, _read(index))
    where = content.get("weight_map")
    if not isinstance(where, dict) or not where:
        raise CorruptFile(f"{index} has no weight_map", _HINT)
    for name, shard in where.items():
        if not isinstance(shard, str) or not shard.endswith(".safetensors") or Path(shard).name != shard:
            raise CorruptFile(f"{index}: {name} lies in '{shard}', which is not a safetensors file beside it", _HINT)
    return where


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the model in ``folder``; empty where there are none."""
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    if (folder / INDEX_FILE).is_file():
        return [folder / shard for shard in sorted(set(read_index(folder / INDEX_FILE).values()))]
    return []


def stored_bytes(tensor: TensorSpec) -> int:
    """Bytes that a tensor takes in its file."""
    return (tensor.elements * DTYPE_BITS[tensor.dtype] + 7) // 8


def _read(file: Path) -> bytes:
    with disk_errors(file):
        return file.read_bytes()


def _decode(file: Path, raw: bytes) -> dict[str, Any]:
    try:
        content = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        what = "it" if file.suffix == ".json" else "its header"
        raise CorruptFile(f"{file}: {what} is not JSON ({problem})", _HINT) from None
    if not isinstance(content, dict):
        raise CorruptFile(f"{file} does not hold a JSON object", _HINT)
    return content


def _check_entries(file: Path, entries: Mapping[str, Any], data_bytes: int) -> dict[str, TensorSpec]:
    """Turn header entries into specs; their data must lie end to end and end with the file."""
    rows: list[tuple[int, int, str, TensorSpec]] = []
    for name, entry in entries.items():
        if name != "__metadata__":
            rows.append((*_offsets(file, name, entry), name, _spec(file, name, entry)))
    rows.sort(key=lambda row: row[:2])
    position = 0
    for start, end, name, spec in rows:
        if start != position:
            raise CorruptFile(f"{file}: the data of {name} starts at byte {start:,}, expected {position:,}", _HINT)
        if end - start != stored_bytes(spec):
            shape = " × ".join(map(str, spec.shape)) or "a scalar"
            raise CorruptFile(f"{file}: {name} ({spec.dtype}, {shape}) has {end - start:,} bytes, needs {stored_bytes(spec):,}", _HINT)
        position = end
    if position > data_bytes:
        raise CorruptFile(f"{file} is truncated: its tensors need {position:,} bytes, {data_bytes:,} are there", _HINT)
    if position < data_bytes:
        raise CorruptFile(f"{file} has {data_bytes - position:,} bytes that no tensor of its header owns", _HINT)
    return {name: spec for _, _, name, spec in rows}


def _offsets(file: Path, name: str, entry: Any) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CorruptFile(f"{file}: {name} has no valid data_offsets", _HINT)
    return offsets[0], offsets[1]


def _spec(file: Path, name: str, entry: Mapping[str, Any]) -> TensorSpec:
    dtype, shape = entry.get("dtype"), entry.get("shape")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise CorruptFile(f"{file}: {name} has the unknown dtype '{dtype}'", _HINT)
    if not _are_sizes(shape):
        raise CorruptFile(f"{file}: {name} has no valid shape", _HINT)
    return TensorSpec(tuple(shape), dtype)


def _are_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)
