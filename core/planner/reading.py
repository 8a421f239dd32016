"""A base model described from its files: ``config.json`` and safetensors headers, in milliseconds, without torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import CorruptFile, NotFound, UnsafeFile
from ..fsio import disk_errors, read_json
from ..modelspec import LinearSpec, ModelSpec, TensorSpec, is_pickle, parameter_names
from .architectures import Sizes, derive_shapes, is_known, read_sizes, text_config
from .headers import INDEX_FILE, SINGLE_FILE, read_headers, weight_files

_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    "I8": "int8", "U8": "uint8", "I32": "int32", "U32": "uint32", "I64": "int64", "F4": "float4",
}  # fmt: skip
_SAFETENSORS_DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16", "float64": "F64"}

_BLOCK = re.compile(r"(?:^|\.)(\d+)\.")
_NOT_LINEAR = re.compile(r"embed|norm|ln_|relative_attention_bias|conv1d|rotary", re.IGNORECASE)
CONV1D = frozenset({"gpt2", "openai-gpt"})
"""Model types whose projections are stored as (in, out)."""


def read_model(folder: Path) -> ModelSpec:
    """Describe the base model in ``folder``; weights need not be there for the architectures of `architectures`.

    Raises:
        NotFound: no such folder, no ``config.json``, or neither weights nor a known architecture.
        CorruptFile: ``config.json`` or a safetensors file is not what it should be.
        UnsafeFile: the weights are only there as pickles, or the model needs code of its own.
        DiskError: a file cannot be read.
    """
    folder = Path(folder).expanduser().absolute()
    if not folder.is_dir():
        raise NotFound(f"{folder} is not a folder")
    if not (folder / "config.json").is_file():
        raise NotFound(f"{folder} has no config.json", "a model folder holds config.json, safetensors weights and a tokenizer")
    return _read(folder, _signature(folder))


def _signature(folder: Path) -> tuple[tuple[str, int, int, int], ...]:
    """What changes when a file does, so that an unchanged model is read once (the form asks at every key)."""
    rows = []
    with disk_errors(folder):
        for file in sorted(folder.iterdir()):
            if file.suffix in (".json", ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl") and file.exists():
                status = file.stat()
                rows.append((file.name, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(rows)


@lru_cache(maxsize=64)
def _read(folder: Path, _: tuple[tuple[str, int, int, int], ...]) -> ModelSpec:
    config = _config(folder)
    language = text_config(config)
    model_type = str(language.get("model_type") or config.get("model_type") or "")
    architectures = config.get("architectures")
    architecture = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    if config.get("auto_map") and not is_known(model_type):
        raise UnsafeFile(
            f"{folder}: the architecture '{architecture or model_type}' is Python code that comes with the model",
            "FineTUI runs no code from model folders; use a model whose architecture transformers contains",
        )
    try:
        sizes = read_sizes(language, model_type)
    except KeyError as problem:
        raise CorruptFile(f"{folder / 'config.json'} has no {problem.args[0]}", "fetch the file again") from None
    except ValueError as problem:
        raise CorruptFile(f"{folder / 'config.json'}: {problem}", "fetch the file again") from None
    tensors = _stored(folder)
    has_weights = bool(tensors)
    if not has_weights:
        tensors = _derived(folder, config, language, model_type, architecture, sizes)
    return _spec(folder, config, model_type, architecture, sizes, tensors, has_weights)


def _config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    with disk_errors(file):
        try:
            return read_json(file)
        except CorruptFile as problem:
            raise CorruptFile(problem.message, "fetch the file again") from None


def _stored(folder: Path) -> dict[str, TensorSpec]:
    """Tensors from the safetensors headers; empty where there are no weights at all."""
    if weight_files(folder):
        return read_headers(folder)
    pickles = sorted(file.name for file in folder.iterdir() if is_pickle(file.name))
    if pickles:
        raise UnsafeFile(
            f"{folder} has its weights only as a pickle ({pickles[0]}), which can run any code when it is opened",
            "if you trust the file: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER) writes safetensors",
        )
    strays = sorted(file.name for file in folder.glob("*.safetensors") if not file.name.startswith("adapter_"))
    if strays:
        raise CorruptFile(f"{folder} has {strays[0]} but neither {SINGLE_FILE} nor {INDEX_FILE}", "fetch the missing file")
    return {}


def _derived(
    folder: Path, config: Mapping[str, Any], language: Mapping[str, Any], model_type: str, architecture: str, sizes: Sizes
) -> dict[str, TensorSpec]:
    shapes = derive_shapes(language, model_type, architecture, sizes)
    if shapes is None:
        raise NotFound(
            f"{folder} has no weights, and the shapes of '{model_type}' models are not known from config.json alone",
            f"put {SINGLE_FILE} beside it",
        )
    name = str(language.get("dtype") or language.get("torch_dtype") or config.get("dtype") or config.get("torch_dtype") or "float32")
    dtype = _SAFETENSORS_DTYPES.get(name.removeprefix("torch."), "F32")
    return {tensor: TensorSpec(shape, dtype) for tensor, shape in shapes.items()}


def _spec(
    folder: Path,
    config: Mapping[str, Any],
    model_type: str,
    architecture: str,
    sizes: Sizes,
    tensors: Mapping[str, TensorSpec],
    has_weights: bool,
) -> ModelSpec:
    elements: dict[str, int] = {}
    for name in parameter_names(tensors, sizes.tied):
        tensor = tensors[name]
        elements[tensor.dtype] = elements.get(tensor.dtype, 0) + tensor.elements
    if not elements:
        raise CorruptFile(f"{folder}: its safetensors files hold no weights", "fetch them again")
    most = max(elements, key=lambda dtype: elements[dtype])
    return ModelSpec(
        path=folder, architecture=architecture, model_type=model_type, dtype=_DTYPES.get(most, most.lower()),
        parameters=sum(elements.values()), hidden_size=sizes.hidden, intermediate_size=sizes.intermediate,
        num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads, num_key_value_heads=sizes.kv_heads,
        vocab_size=sizes.vocab, max_length=sizes.max_length, tie_word_embeddings=sizes.tied,
        linears=find_linears(tensors, model_type), tensors=tensors, has_weights=has_weights, config=config,
    )  # fmt: skip


def find_linears(tensors: Mapping[str, TensorSpec], model_type: str) -> tuple[LinearSpec, ...]:
    """The linear projections: two-dimensional weights inside numbered blocks, embeddings and norms left out."""
    rows = []
    for name, tensor in tensors.items():
        block = _BLOCK.search(name)
        if block is None or not name.endswith(".weight") or len(tensor.shape) != 2 or _NOT_LINEAR.search(name):
            continue
        first, second = tensor.shape
        into, out = (first, second) if model_type in CONV1D else (second, first)
        rows.append(LinearSpec(name.removesuffix(".weight"), into, out, int(block.group(1))))
    return tuple(sorted(rows, key=lambda linear: linear.block))
