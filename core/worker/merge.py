"""Merging an adapter into its base: an ordinary model folder that needs no PEFT. A job.

Sums are made in float32 and rounded once, to the dtype that each tensor is stored in. ``docs/design/merging.md`` has the why.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from ..catalog.catalog import Catalog
from ..catalog.digest import DELTA_FILE, digest_folder, weight_files
from ..catalog.manifest import BaseRef, Manifest, Parent, read_manifest, write_manifest
from ..catalog.peftfiles import CONFIG_FILE, read_adapter
from ..errors import DiskError, Incompatible, NameTaken, OutOfMemory, WorkFailed
from ..fsio import read_json, staged_folder, write_json
from ..modelspec import companions
from ..planner.reading import read_model
from ..runs.job import Job, run_job
from ..runs.spec import ExportRequest, MergeRequest
from .deltamodel import write_whole
from .loading import compute_device, load_tokenizer, quiet_libraries
from .memory import MemoryMeter
from .mergebase import BaseRecipe, recipe_for
from .peft_support import merge
from .slots import load_complete, read_peft_config
from .tuners import TunerConfig
from .verify import Verification

_OF_THE_TASK = ("config.json", "generation_config.json")
"""Files of a base that say what its head does: a classifier has its own."""

_DISK_RESERVE = 64 << 20
"""Bytes that must stay free beside the merged weights."""


def require_mergeable(adapter: Path) -> None:
    """Refuse an adapter that cannot be folded into a base's weights, by its configuration alone.

    Raises:
        Incompatible: the message says why not.
    """
    if (adapter / DELTA_FILE).is_file():
        return
    if not (adapter / CONFIG_FILE).is_file():
        raise Incompatible(f"{adapter} is no adapter but a whole model: there is nothing to merge", "use the folder as it is")
    config = read_peft_config(adapter)
    kind = getattr(config.peft_type, "value", config.peft_type)
    reason = ""
    if isinstance(config, TunerConfig):
        kind = " + ".join(config.part_names)
        reason = "what it adds depends on the input, so no fixed weight equals it"
        if config.lora is not None:
            reason += "; its LoRA part was trained together with the others and means little without them"
    elif config.is_prompt_learning:
        reason = "it is made of virtual tokens in front of the prompt, which no weight of the base can hold"
    elif config.is_adaption_prompt or kind in ("XLORA", "POLY", "SHADOW", "LILY"):
        reason = "what it adds depends on the input, so no fixed weight equals it"
    elif getattr(config, "alora_invocation_tokens", None) or getattr(config, "layer_replication", None):
        reason = "it works on some positions, or on copies of layers, only"
    if reason:
        raise Incompatible(f"a {kind} adapter cannot be merged: {reason}", "load it beside the base instead, as `finetui chat` does")


def main(job: Job) -> dict[str, Any]:
    """The job; returns ``{out, digest, bytes, seconds, peak_memory_bytes, merged_into, verified}``."""
    started = time.perf_counter()
    quiet_libraries()
    request = job.request(MergeRequest)
    base, adapter, output = Path(request.model_path), Path(request.adapter), Path(request.output)
    _check(job, request)
    device = roomy_device(base)
    meter = MemoryMeter(device)
    recipe = recipe_for(adapter)
    job.event("prepared", f"merging into {recipe.description}", device=str(device))
    with staged_folder(output) as staging:
        verified = write_merged(base, adapter, staging, meter.sample, device=device, verify=request.verify)
        if verified:
            job.event("evaluation", f"verified: they differ by {verified['max_abs_diff']:.2g} at most", **verified)
        digest = digest_folder(staging)
        write_manifest(staging, merged_manifest(request, job, verified))
    job.event("saved", f"merged model in {output}", path=str(output))
    return {
        "out": str(output),
        "digest": digest,
        "bytes": sum(file.stat().st_size for file in weight_files(output)),
        "seconds": time.perf_counter() - started,
        "peak_memory_bytes": meter.peak,
        "merged_into": recipe.description,
        "verified": verified,
    }


def write_merged(
    base: Path, adapter: Path, folder: Path, sample: Callable[[], Any], *, device: torch.device, verify: bool
) -> dict[str, Any]:
    """Write the model that ``adapter`` makes of ``base`` into the (existing, empty) ``folder``.

    Args:
        adapter: a PEFT folder, or a delta (which is put in and compared tensor by tensor, whether ``verify`` is set or not).
        sample: called where much memory is in use.
        verify: compare the merged model's logits with those of the adapter on its base.

    Returns:
        What was verified; empty where nothing was.

    Raises:
        Incompatible: it cannot be merged, or belongs to another base. Refused: the result is not what it must be.
        OutOfMemory: says how much memory is needed. DiskError: the disk is full.
    """
    recipe = recipe_for(adapter)
    if (adapter / DELTA_FILE).is_file():
        return write_whole(base, adapter, folder, recipe.task, recipe.labels, sample)
    with _memory_errors(base):
        verification = Verification(recipe, base, adapter, device) if verify else None
        sample()
        _write_merged(recipe, base, adapter, folder, device, sample, verification)
        verified = verification.written(folder) if verification else {}
        sample()
    return verified


def roomy_device(base: Path) -> torch.device:
    """The GPU where it clearly has room for the base in float32, twice; else the CPU, which adds as exactly."""
    device = compute_device()
    if device.type == "cuda" and torch.cuda.mem_get_info(device)[0] > 2 * 4 * read_model(base).parameters:
        return device
    return torch.device("cpu")


@contextlib.contextmanager
def _memory_errors(base: Path) -> Iterator[None]:
    """Say of a merge that ran out of memory how much it needs; what helps a training run does not help here."""
    try:
        yield
    except (OutOfMemory, MemoryError, RuntimeError) as problem:
        if not _is_out_of_memory(problem):
            raise
        size = 4 * read_model(base).parameters / 1e9
        hint = "merge on a machine with more, leave out --verify, or use the adapter beside the base as `finetui chat` does"
        raise OutOfMemory(
            f"out of memory: merging needs the base in float32, {size:.1f} GB, about twice that with --verify", hint
        ) from problem


def _is_out_of_memory(problem: BaseException) -> bool:
    return isinstance(problem, (OutOfMemory, MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(problem)


def _check(job: Job, request: MergeRequest) -> None:
    """Everything that can be refused before anything is loaded."""
    base, output = Path(request.model_path), Path(request.output)
    if output.exists() or output.is_symlink():
        raise NameTaken(f"{output} exists already", "choose another name, or remove it first")
    require_mergeable(Path(request.adapter))
    catalog = Catalog(job.home)
    catalog.check_pair(catalog.model(str(base)), catalog.adapter(request.adapter), ignore_digest=request.force)
    load_tokenizer(base)
    require_room(base, output)


def require_room(base: Path, output: Path) -> None:
    """Refuse to write a model as large as ``base`` where the disk has no room for it.

    Raises:
        DiskError: it has not.
    """
    needed = sum(file.stat().st_size for file in weight_files(base)) + _DISK_RESERVE
    place = next(folder for folder in output.parents if folder.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise DiskError(
            f"{place}: {free / 1e6:,.0f} MB are free, the model needs {needed / 1e6:,.0f}", "free some space, or write elsewhere"
        )


def _write_merged(
    recipe: BaseRecipe,
    base: Path,
    adapter: Path,
    staging: Path,
    device: torch.device,
    sample: Callable[[], Any],
    verification: Verification | None,
) -> None:
    """Merge in memory and write weights, configuration and tokenizer into ``staging``."""
    model = recipe.float32(base, device)
    untied = _untie(model, adapter)
    wrapper = load_complete(model, adapter)
    try:
        merged = merge(wrapper)
    except (NotImplementedError, ValueError, AttributeError, RuntimeError) as problem:
        if _is_out_of_memory(problem):
            raise
        raise Incompatible(f"{adapter} cannot be merged: {str(problem).splitlines()[0] if str(problem) else problem!r}") from problem
    sample()
    for name, parameter in merged.named_parameters():
        if not torch.isfinite(parameter).all():
            raise WorkFailed(f"{name} of the merged model is not finite", "the adapter's weights are broken: evaluate it first")
    if verification:
        verification.sums(merged)
    _as_stored(merged, base)
    try:
        merged.save_pretrained(staging)
    except SafetensorError as problem:
        raise DiskError(f"{staging.parent}: {problem}", "free some space, or write elsewhere") from problem
    for file in companions(base):
        if recipe.task == "causal-lm" or file.name not in _OF_THE_TASK:
            shutil.copyfile(file, staging / file.name)
    config = read_json(staging / "config.json")
    if untied and config.get("tie_word_embeddings", True):
        write_json(staging / "config.json", {**config, "tie_word_embeddings": False})
    if verification:
        verification.rounded(merged)


def _as_stored(model: nn.Module, base: Path) -> None:
    """Round every parameter, once, to the dtype that the base's file has it in."""
    spec = read_model(base)
    dtypes = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F64": torch.float64}
    usual = getattr(torch, spec.dtype)
    for name, parameter in model.named_parameters():
        stored = spec.tensors.get(name)
        parameter.data = parameter.data.to(dtypes.get(stored.dtype, usual) if stored else usual)
        if not torch.isfinite(parameter.data).all():
            raise WorkFailed(f"{name} of the merged model does not fit into {spec.dtype}", "merge into a base stored in float32 instead")
    model.config.dtype = usual  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]


def _untie(model: Any, adapter: Path) -> bool:
    """Give the output head a weight of its own where it shares the embeddings' and the adapter changes one of the two."""
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or head.weight is not embeddings.weight:
        return False
    names = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if module is head or module is embeddings}
    if not names & _touched(adapter):
        return False
    head.weight = nn.Parameter(head.weight.detach().clone())
    model.config.tie_word_embeddings = False
    return True


def _touched(adapter: Path) -> set[str]:
    """Last parts of the names of modules that the adapter adds to or replaces, by the tensors that it stores.

    ``lm_head.lora_A.weight`` is an addition; ``lm_head.weight`` a replacement only where the configuration says so (else it
    is a copy of the base's own); target names say too little, as they may be patterns.
    """
    config = read_peft_config(adapter)
    replaced = [config.modules_to_save or (), getattr(config, "trainable_token_indices", None) or ()]
    found = {str(name).rsplit(".", 1)[-1] for group in replaced for name in group}
    for tensor in read_adapter(adapter).tensors:
        parts = tensor.split(".")
        found |= {part for part, inside in zip(parts, parts[1:]) if inside not in ("weight", "bias", "base_layer")}
    return found


def merged_manifest(request: MergeRequest | ExportRequest, job: Job, verified: dict[str, Any]) -> Manifest:
    """Where the merged model comes from: base and adapter by digest."""
    base, adapter = Path(request.model_path), Path(request.adapter)
    trained = read_manifest(adapter) or Manifest()
    base_digest = digest_folder(base)
    hub_id = "" if Path(request.base_model_name_or_path).is_absolute() else request.base_model_name_or_path
    return Manifest(
        kind="model",
        name=Path(request.output).name,
        method=trained.method,
        method_options=trained.method_options,
        training_options=trained.training_options,
        training_precision=trained.training_precision,
        objective=trained.objective,
        task=trained.task,
        labels=trained.labels,
        base=BaseRef(name=request.model, hub_id=hub_id, digest=base_digest, path=str(base)),
        data=trained.data,
        seed=trained.seed,
        versions=trained.versions,
        metrics={"merge_max_abs_diff": verified["max_abs_diff"]} if verified else {},
        run=job.spec.run,
        created=time.time(),
        parents=[
            Parent(kind="model", relation="base", name=request.model, digest=base_digest, repo=hub_id),
            Parent(kind="adapter", relation="merged", name=adapter.name, digest=digest_folder(adapter)),
        ],
    )


if __name__ == "__main__":
    run_job(main)
