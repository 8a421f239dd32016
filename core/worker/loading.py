"""Loads base models and tokenizers from local folders: safetensors only, no code from the folder, nothing from the network."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from ..catalog.classes import classes_of
from ..errors import CorruptFile, Incompatible, NotFound, OutOfMemory, Refused, UnsafeFile, WorkFailed
from ..modelspec import TOKENIZER_FILES, ModelSpec
from ..planner.reading import read_model
from .fourbit import pack_layer
from .heads import HEAD_MODULES, head_modules, is_of_head, mark_head, new_head

_AUTO_CLASSES = {"causal-lm": "AutoModelForCausalLM", "seq-cls": "AutoModelForSequenceClassification"}


def quiet_libraries() -> None:
    """Keep progress bars and advertisements of the libraries out of the console; warnings and errors still come."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def compute_device() -> torch.device:
    """Where this process computes: the first GPU that it may use, else the CPU.

    Raises:
        Refused: it was given a GPU that this torch cannot use.
    """
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if os.environ.get("CUDA_VISIBLE_DEVICES", "").strip() not in ("", "-1"):
        if torch.version.cuda is None and torch.version.hip is None:
            why = f"torch {torch.__version__} is a build for CPUs: install one for CUDA, or for ROCm"
        else:
            built = f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"
            why = f"torch {torch.__version__} was built for {built}: the driver may be too old for it"
        raise Refused("there is a GPU, but torch cannot use it", f"{why}; or compute on the CPU: --gpus none")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def load_tokenizer(path: Path | str) -> Any:
    """The tokenizer of a model folder, with a padding token (the end-of-text token where it has none of its own).

    Raises:
        NotFound: the folder is absent or holds no tokenizer.
        CorruptFile: its tokenizer files cannot be read.
        UnsafeFile: it needs code of its own.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise NotFound(f"no model folder at {folder}")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise NotFound(
            f"{folder}: no tokenizer ({TOKENIZER_FILES[0]}) beside the weights",
            "copy the tokenizer files of the model it was made from into the folder",
        )
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as problem:
        _refuse_remote_code(folder, problem)
        raise CorruptFile(f"{folder}: its tokenizer cannot be read ({_first_line(problem)})", "fetch its files again") from problem
    if tokenizer.pad_token_id is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(
    path: Path | str,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    load_arguments: Mapping[str, Any] | None = None,
    task: str = "causal-lm",
    labels: Sequence[str] = (),
    head_seed: int | None = None,
) -> Any:
    """Load a base model and put it on ``device``, in evaluation mode.

    Args:
        path: the model folder.
        dtype: of the weights; none keeps the one they are stored in.
        load_arguments: further arguments of ``from_pretrained``, such as ``quantization_config`` (they win over ``dtype``).
        task: ``causal-lm`` or ``seq-cls``.
        labels: names of the classes of ``seq-cls``; none: those of a folder that is a classifier already.
        head_seed: give the classifier a fresh head from this seed, unless the folder has one for the same labels.

    Raises:
        NotFound: no folder, no ``config.json``, or no weights in it.
        UnsafeFile: only pickled weights, or an architecture that needs code of its own.
        CorruptFile: torn or incomplete safetensors; the message names the file.
        OutOfMemory: it does not fit on the device.
        WorkFailed: quantised loading quantised nothing.
    """
    folder = Path(path)
    if not read_model(folder).has_weights:
        raise NotFound(f"{folder}: no weights (model.safetensors) beside config.json", "fetch the whole model")
    import transformers

    arguments: dict[str, Any] = {"dtype": dtype or "auto", "attn_implementation": "sdpa", **(load_arguments or {})}
    quantised = "quantization_config" in arguments
    on_device = quantised or torch.device(device).type == "cuda"
    if on_device:  # each tensor goes there as it is read; the model is never whole in the machine's memory
        arguments["device_map"] = {"": str(device)}
    if task == "seq-cls":
        arguments |= _classifier_arguments(folder, labels)
        if quantised:
            arguments["quantization_config"] = _sparing_head(arguments["quantization_config"])
    automatic = getattr(transformers, _AUTO_CLASSES[task])
    with _loading_errors(folder), _plain_falcon_linears(quantised):
        model, information = automatic.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, use_safetensors=True, output_loading_info=True, **arguments
        )
    missing = sorted(information["missing_keys"])
    odd = [name for name, *_ in information["mismatched_keys"] if not is_of_head(name)]
    if odd:
        raise CorruptFile(f"{folder}: its weights do not match its config.json, first {odd[0]}", "fetch the model again")
    lost = [name for name in missing if task != "seq-cls" or not is_of_head(name)]
    if lost:
        raise CorruptFile(f"{folder}: {len(lost)} weights are missing, first {lost[0]}", "fetch the model again")
    if task == "seq-cls":
        mark_head(model, missing)
        if head_seed is not None and (missing or "num_labels" in arguments):
            new_head(model, head_seed)
        # Decoders classify by the last token that is not padding: they must know which token rows are padded with.
        model.config.get_text_config().pad_token_id = load_tokenizer(folder).pad_token_id
    if quantised:
        _check_quantised(model, folder)
    if not on_device:
        model.to(device)
    return model.eval()


def _sparing_head(quantization: Any) -> Any:
    """The quantisation without the classification head, which trains."""
    sparing = copy.copy(quantization)
    sparing.llm_int8_skip_modules = list(HEAD_MODULES)
    return sparing


def _classifier_arguments(folder: Path, labels: Sequence[str]) -> dict[str, Any]:
    """What ``from_pretrained`` is told of the classes; a head for other classes that the folder may have is passed over."""
    if not labels or list(labels) == classes_of(read_model(folder).config):
        return {}
    names = dict(enumerate(labels))
    return {
        "num_labels": len(labels), "id2label": names, "label2id": {name: number for number, name in names.items()},
        "problem_type": "single_label_classification", "ignore_mismatched_sizes": True,
    }  # fmt: skip


def empty_base(spec: ModelSpec, *, dtype: torch.dtype, load_arguments: Mapping[str, Any] | None = None) -> Any:
    """The base on the meta device, from ``config.json`` alone, as `load_base` would load it; 4-bit layers included.

    Args:
        spec: of the base, made for the task.
    """
    import transformers

    arguments = dict(load_arguments or {})
    quantization = arguments.pop("quantization_config", None)
    if spec.task == "seq-cls" and quantization is not None:
        quantization = _sparing_head(quantization)
    automatic = getattr(transformers, _AUTO_CLASSES[spec.task])
    if spec.task == "seq-cls":
        classes = next(tensor.shape[0] for name, tensor in spec.head.items() if name.startswith(("score.", "classifier.")))
        arguments |= {"num_labels": classes, "problem_type": "single_label_classification", "pad_token_id": 0}
    options = {"local_files_only": True, "trust_remote_code": False}
    with _loading_errors(spec.path), _plain_falcon_linears(quantization is not None), torch.device("meta"):
        dtype = arguments.pop("dtype", dtype)
        config = transformers.AutoConfig.from_pretrained(str(spec.path), **options, **arguments)
        model = automatic.from_config(config, attn_implementation="sdpa", trust_remote_code=False, dtype=dtype)
        if quantization is not None:
            from transformers.quantizers.auto import AutoHfQuantizer

            quantizer = AutoHfQuantizer.from_config(quantization, pre_quantized=False)
            quantizer.preprocess_model(model=model, device_map=None)
            quantizer.postprocess_model(model)
            _check_quantised(model, spec.path)
            for layer in _linears_4bit(model):
                pack_layer(layer)
                if layer.bias is not None:
                    layer.bias.data = layer.bias.data.to(dtype)
    if spec.task == "seq-cls":
        mark_head(model, sorted(spec.head))
        for name in head_modules(model):
            model.get_submodule(name).float()
    return model.eval()


@contextlib.contextmanager
def _loading_errors(folder: Path) -> Iterator[None]:
    """What the libraries raise while loading, as errors that name the folder."""
    try:
        yield
    except torch.OutOfMemoryError as problem:
        raise OutOfMemory(f"{folder} does not fit: {_first_line(problem)}", "try qlora, or a device with more memory") from problem
    except SafetensorError as problem:
        raise CorruptFile(f"{folder}: {problem}", "fetch the file again") from problem
    except (ValueError, KeyError, OSError, ImportError) as problem:
        _refuse_remote_code(folder, problem)
        raise Incompatible(f"{folder} cannot be loaded: {_first_line(problem)}") from problem
    except RuntimeError as problem:
        if "can't allocate memory" in str(problem):
            raise OutOfMemory(f"{folder} does not fit in memory", "try qlora, or a smaller model") from problem
        raise CorruptFile(f"{folder}: its weights do not match its config.json ({_first_line(problem)})") from problem


def _refuse_remote_code(folder: Path, problem: BaseException) -> None:
    if "trust_remote_code" in str(problem):
        raise UnsafeFile(
            f"{folder} needs Python code that comes with the model", "code of models is not run; choose an architecture of transformers"
        ) from problem


def _first_line(problem: BaseException) -> str:
    return next((line for line in str(problem).splitlines() if line.strip()), type(problem).__name__)


@contextlib.contextmanager
def _plain_falcon_linears(active: bool) -> Iterator[None]:
    """Quantised loading replaces ``nn.Linear`` by exact type and would skip Falcon's subclass, which computes the same."""
    if not active:
        yield
        return
    from transformers.models.falcon import modeling_falcon

    original = modeling_falcon.FalconLinear
    modeling_falcon.FalconLinear = nn.Linear  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        modeling_falcon.FalconLinear = original  # pyright: ignore[reportAttributeAccessIssue]


def _check_quantised(model: nn.Module, folder: Path) -> None:
    """Make 4-bit layers safe to train on CPUs, and make sure that there are some.

    On CPUs with AVX512-BF16 an evaluation pass would repack 4-bit weights in place, after which training and merging
    silently compute garbage; the repacking is switched off.
    """
    layers = _linears_4bit(model)
    for layer in layers:
        layer.support_avx512bf16_for_cpu = False
    if not layers:
        raise WorkFailed(f"{folder}: no layer was quantised", "use lora: this architecture has no linear layers that bitsandbytes replaces")


def compute_in(model: nn.Module, dtype: torch.dtype) -> None:
    """Let the 4-bit layers of a quantised model compute in ``dtype``."""
    for layer in _linears_4bit(model):
        layer.compute_dtype = dtype
        layer.compute_type_is_set = True


def _linears_4bit(model: nn.Module) -> list[Any]:
    from bitsandbytes.nn.modules import Linear4bit

    return [module for module in model.modules() if isinstance(module, Linear4bit)]
