"""Whole models from deltas, adapters and full fine-tunes: by ``merge`` and by ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from finetui.core.catalog.catalog import Catalog
from finetui.core.catalog.digest import digest_folder
from finetui.core.catalog.manifest import read_manifest
from finetui.core.errors import Incompatible, NameTaken, NotFound
from finetui.core.paths import find_home
from finetui.core.runs.exporting import export_request
from finetui.core.runs.job import Job
from finetui.core.runs.requests import merge_request
from finetui.core.runs.store import RunStore
from finetui.core.worker import export, merge
from finetui.core.worker.loading import load_base
from finetui.core.worker.slots import load_slot
from safetensors.torch import load_file, save_file
from support.models import tiny_model
from support.training import train

IDS = torch.tensor([[7, 100, 42, 9, 250, 33, 8, 77]])


def run(kind: Any, request: msgspec.Struct) -> dict[str, Any]:
    """The job of a request in this process."""
    job = Job(RunStore(find_home().create()).create(kind, "x", msgspec.to_builtins(request)).dir)
    try:
        return (export if kind == "export" else merge).main(job)
    finally:
        job.close()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_delta_becomes_a_whole_model_tensor_by_tensor(tmp_path: Path, data: Path, dtype: torch.dtype) -> None:
    base = tiny_model(tmp_path / "base", "qwen2", dtype=dtype)
    _, trained = train(base, data, "top_layers", method_options={"num_layers": 1, "train_head": False}, training={"max_steps": 2})
    home = find_home()
    out, merged = tmp_path / "whole", tmp_path / "merged"
    result = run("export", export_request(home, "result", format="safetensors", out=out))
    run("merge", merge_request(home, model=str(base), adapter="result", out=merged))
    delta, before = load_file(Path(trained["adapter"]) / "delta.safetensors"), load_file(base / "model.safetensors")
    for folder in (out, merged):
        whole = load_file(folder / "model.safetensors")
        assert list(whole) == list(before) and {tensor.dtype for tensor in whole.values()} == {dtype}
        assert all(torch.equal(tensor, delta.get(name, before[name])) for name, tensor in whole.items())
        assert (folder / "config.json").read_bytes() == (base / "config.json").read_bytes()
    assert result["verified"] == {"passed": True, "tensors": len(before), "replaced": len(delta), "max_abs_diff": 0.0}
    assert (result["out"], result["digest"]) == (str(out), digest_folder(out))
    assert result["bytes"] > 0 and result["seconds"] > 0 and result["peak_memory_bytes"] >= 0
    manifest = read_manifest(out)
    assert manifest is not None
    assert (manifest.kind, manifest.method, [parent.relation for parent in manifest.parents]) == ("model", "top_layers", ["base", "merged"])
    model = load_base(base)
    slot = load_slot(model, Path(trained["adapter"]))
    slot.switch_on()
    assert torch.equal(logits(load_base(out)), logits(model))


def test_shards_stay_shards_and_names_without_the_prefix_stay_so(tmp_path: Path, data: Path) -> None:
    base = tiny_model(tmp_path / "base", "gpt2")
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(base / "model.safetensors").items()}
    names = sorted(tensors)
    files = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, some in files.items():
        save_file({name: tensors[name] for name in some}, base / file, metadata={"format": "pt"})
    where = {name: file for file, some in files.items() for name in some}
    (base / "model.safetensors").unlink()
    (base / "model.safetensors.index.json").write_bytes(msgspec.json.encode({"metadata": {"total_size": 1}, "weight_map": where}))
    _, trained = train(base, data, "bitfit", training={"max_steps": 2})
    assert set(load_file(Path(trained["adapter"]) / "delta.safetensors")) <= set(names)
    out = tmp_path / "whole"
    run("export", export_request(find_home(), "result", format="safetensors", out=out))
    index = msgspec.json.decode((out / "model.safetensors.index.json").read_bytes())
    assert index["weight_map"] == where and index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors.values())
    model = load_base(base)
    load_slot(model, Path(trained["adapter"])).switch_on()
    assert torch.equal(logits(load_base(out)), logits(model))


def test_adapters_are_merged_and_whole_models_copied(tmp_path: Path, data: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    train(base, data, "lora", name="adapter", training={"max_steps": 2})
    train(base, data, "full", name="tuned", training={"max_steps": 2})
    result = run("export", export_request(find_home(), "adapter", format="safetensors", out=tmp_path / "merged"))
    assert result["verified"]["passed"] and result["verified"]["sum_rel_diff"] < 1e-5
    result = run("export", export_request(find_home(), "tuned", format="safetensors", out=tmp_path / "copy"))
    assert result["verified"]["passed"] and result["digest"] == Catalog(find_home()).digest(find_home().models / "tuned")
    assert torch.equal(logits(load_base(tmp_path / "copy")), logits(load_base(find_home().models / "tuned")))


def test_what_cannot_be_exported_is_refused_at_once(tmp_path: Path, data: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    train(base, data, "bitfit", training={"max_steps": 1})
    other = tiny_model(tmp_path / "other", "qwen2", seed=1)
    home = find_home()
    with pytest.raises(Incompatible, match="was trained on"):
        export_request(home, "result", format="safetensors", out=tmp_path / "out", model=str(other))
    with pytest.raises(Incompatible, match="was trained on"):
        merge_request(home, model=str(other), adapter="result", out=tmp_path / "out", force=True)
    with pytest.raises(NotFound, match="unknown exporter 'gguff'"):
        export_request(home, "result", format="gguff", out=tmp_path / "out")
    with pytest.raises(NotFound, match="neither an adapter nor a model 'nothing'"):
        export_request(home, "nothing", format="safetensors", out=tmp_path / "out")
    with pytest.raises(NameTaken):
        export_request(home, "result", format="safetensors", out=other)
    base.rename(tmp_path / "moved")
    with pytest.raises(NotFound, match="is not on this machine"):
        export_request(home, "result", format="safetensors", out=tmp_path / "out")
    assert export_request(home, "result", format="safetensors", out=tmp_path / "out", model=str(tmp_path / "moved")).adapter
