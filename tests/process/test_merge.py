"""Merging: the merged model is an ordinary one that says what base and adapter say together, or nothing is written."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from finetui.core.catalog.digest import digest_folder
from finetui.core.catalog.manifest import BaseRef, Manifest, read_manifest, write_manifest
from finetui.core.errors import DiskError, FineTUIError, Incompatible, NameTaken, OutOfMemory, Refused, WorkFailed
from finetui.core.paths import find_home
from finetui.core.runs.job import Job
from finetui.core.runs.spec import MergeRequest
from finetui.core.runs.store import RunStore
from finetui.core.worker import merge
from finetui.core.worker.mergebase import recipe_for
from finetui.core.worker.verify import Verification
from safetensors.torch import load_file, save_file
from support.adapters import lora, make_adapter, make_full, plain_logits
from support.disks import small_disk
from support.models import FAMILIES, tiny_model
from support.workerjobs import run_in_foreground

IDS = torch.tensor([[7, 100, 42, 9, 250, 33, 8, 77]])
CPU = torch.device("cpu")


def request(base: Path, adapter: Path, output: Path, **more: Any) -> MergeRequest:
    return MergeRequest(
        model=base.name, model_path=str(base), base_model_name_or_path="org/base", adapter=str(adapter), output=str(output), **more
    )


def do_merge(base: Path, adapter: Path, output: Path, **more: Any) -> dict[str, Any]:
    """The merge job in this process."""
    job = Job(RunStore(find_home().create()).create("merge", "m", msgspec.to_builtins(request(base, adapter, output, **more))).dir)
    try:
        return merge.main(job)
    finally:
        job.close()


def nothing_left(output: Path) -> bool:
    return not output.exists() and not list(output.parent.glob(f".{output.name}*"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_merged_model_is_ordinary_and_exact(tmp_path: Path, family: str, dtype: torch.dtype) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = tiny_model(tmp_path / "base", family, dtype=dtype, chat_template=True)
    adapter, out = make_adapter(tmp_path / "adapter", base), tmp_path / "merged"
    result = do_merge(base, adapter, out, verify=True)

    assert result["out"] == str(out)
    assert result["digest"] == digest_folder(out)
    assert result["bytes"] == (out / "model.safetensors").stat().st_size
    assert result["verified"]["passed"]
    assert result["verified"]["adapter_effect"] > 0.1
    assert not list(out.glob("adapter*"))
    assert (out / "config.json").read_bytes() == (base / "config.json").read_bytes()
    assert AutoTokenizer.from_pretrained(out).chat_template == AutoTokenizer.from_pretrained(base).chat_template

    stored = load_file(out / "model.safetensors")
    before = load_file(base / "model.safetensors")
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in stored.items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in before.items()
    }
    exact: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
    summed = exact.merge_and_unload().state_dict()
    assert all(torch.equal(tensor, summed[name].to(dtype)) for name, tensor in stored.items())
    if dtype == torch.float32:
        torch.testing.assert_close(plain_logits(out, None, IDS), plain_logits(base, adapter, IDS), atol=1e-5, rtol=1e-4)


def test_the_manifest_names_base_and_adapter_by_digest(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    adapter = make_adapter(tmp_path / "adapter", base)
    do_merge(base, adapter, tmp_path / "merged")
    manifest = read_manifest(tmp_path / "merged")
    assert manifest is not None
    assert manifest.kind == "model"
    parents = [(parent.kind, parent.relation, parent.digest) for parent in manifest.parents]
    assert parents == [("model", "base", digest_folder(base)), ("adapter", "merged", digest_folder(adapter))]


@pytest.mark.parametrize("kind", ["dora", "rslora", "ia3", "bias", "head", "tied-head", "head-by-pattern", "embeddings"])
def test_other_kinds_of_adapters_merge_exactly(tmp_path: Path, kind: str) -> None:
    from peft import IA3Config

    configs: dict[str, Any] = {
        "dora": lora(use_dora=True),
        "rslora": lora(use_rslora=True),
        "ia3": IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
        "bias": lora(bias="all"),
        "head": lora(target_modules=["q_proj"], modules_to_save=["lm_head"]),
        "tied-head": lora(target_modules=["q_proj", "lm_head"]),
        "head-by-pattern": lora(target_modules=r".*(q_proj|lm_head)"),
        "embeddings": lora(target_modules=["q_proj", "embed_tokens"]),
    }
    base = tiny_model(tmp_path / "base", "qwen2")  # its head and embeddings are tied
    adapter, out = make_adapter(tmp_path / "adapter", base, config=configs[kind]), tmp_path / "merged"
    assert do_merge(base, adapter, out, verify=True)["verified"]["same_greedy_tokens"]
    torch.testing.assert_close(plain_logits(out, None, IDS), plain_logits(base, adapter, IDS), atol=1e-5, rtol=1e-4)


def test_a_sharded_base_merges(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    base = tiny_model(tmp_path / "base", "llama")
    adapter = make_adapter(tmp_path / "adapter", base)
    model = AutoModelForCausalLM.from_pretrained(base)
    (base / "model.safetensors").unlink()
    model.save_pretrained(base, max_shard_size="150KB")
    assert len(list(base.glob("model-*.safetensors"))) > 1
    do_merge(base, adapter, tmp_path / "merged", verify=True)
    torch.testing.assert_close(plain_logits(tmp_path / "merged", None, IDS), plain_logits(base, adapter, IDS), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["qwen2", "falcon", "gpt2"])
def test_qlora_is_merged_into_the_weights_it_was_trained_on(tmp_path: Path, family: str) -> None:
    from finetui.core import registry
    from finetui.core.worker.loading import load_base
    from finetui.core.worker.precision import choose

    base = tiny_model(tmp_path / "base", family)
    method = registry.load("methods", "qlora")
    options = method.options()
    quantised = load_base(base, dtype=choose(CPU).dtype, load_arguments=method.load_arguments(options, CPU))
    model = method.prepare(quantised, options, "causal-lm")
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    method.save(model, adapter)
    write_manifest(adapter, Manifest(method="qlora"))

    result = do_merge(base, adapter, tmp_path / "merged", verify=True)
    assert "4 bits" in result["merged_into"]
    assert result["verified"]["max_rel_diff"] < 1e-4
    assert result["verified"]["sum_rel_diff"] < 1e-4

    (adapter / "finetui.json").unlink()  # without it nothing tells that the base was quantised
    plain = do_merge(base, adapter, tmp_path / "plain", verify=True)
    assert plain["merged_into"] == "the base as stored"
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        trained = model.eval()(input_ids=IDS).logits.float()
    errors = [(plain_logits(tmp_path / name, None, IDS) - trained).abs().mean() for name in ("merged", "plain")]
    assert errors[0] < errors[1] / 2


@pytest.mark.parametrize("name", ["bf16", "fp16", "fp32"])
def test_the_precision_of_the_training_is_that_of_the_recipe(tmp_path: Path, name: str) -> None:
    """Not the merging machine's: another rounding before quantising gives another base."""
    write_manifest(tmp_path, Manifest(method="qlora", training_precision=name))
    assert recipe_for(tmp_path).dtype == {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[name]


def test_what_cannot_be_merged_is_refused_with_the_reason(tmp_path: Path) -> None:
    from peft import PrefixTuningConfig, PromptTuningConfig

    base, out = tiny_model(tmp_path / "base", "llama"), tmp_path / "merged"
    adapters = {
        "prompt": make_adapter(tmp_path / "prompt", base, config=PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)),
        "prefix": make_adapter(tmp_path / "prefix", base, config=PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)),
    }
    for adapter in adapters.values():
        with pytest.raises(Incompatible, match="virtual tokens"):
            do_merge(base, adapter, out)
    with pytest.raises(Incompatible, match="whole model"):
        do_merge(base, make_full(tmp_path / "full", base), out)
    assert nothing_left(out)
    result, _ = run_in_foreground("merge", request(base, adapters["prompt"], out))
    assert (result.state, result.exit_code) == ("failed", 4)
    assert result.error is not None
    assert result.error["kind"] == "incompatible"


def test_another_base_is_refused_unless_forced(tmp_path: Path) -> None:
    base, twin, other = (
        tiny_model(tmp_path / "base", "qwen2"),
        tiny_model(tmp_path / "twin", "qwen2", seed=5),
        tiny_model(tmp_path / "o", "gpt2"),
    )
    adapter, out = make_adapter(tmp_path / "adapter", base), tmp_path / "merged"
    write_manifest(adapter, Manifest(method="lora", base=BaseRef(name="base", digest=digest_folder(base))))
    with pytest.raises(Incompatible):
        do_merge(twin, adapter, out)
    for force in (False, True):
        with pytest.raises(Incompatible):
            do_merge(other, adapter, out, force=force)
    assert nothing_left(out)
    do_merge(twin, adapter, out, force=True)
    torch.testing.assert_close(plain_logits(out, None, IDS), plain_logits(twin, adapter, IDS), atol=1e-5, rtol=1e-4)


def test_an_existing_folder_is_never_replaced(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "llama")
    adapter, out = make_adapter(tmp_path / "adapter", base), tmp_path / "merged"
    out.mkdir()
    (out / "precious").write_text("mine")
    with pytest.raises(NameTaken):
        do_merge(base, adapter, out)
    assert [file.name for file in out.iterdir()] == ["precious"]


@pytest.mark.parametrize(("dtype", "value"), [(torch.float32, float("nan")), (torch.float16, 1e6)])
def test_weights_that_are_not_finite_are_not_written(tmp_path: Path, dtype: torch.dtype, value: float) -> None:
    base = tiny_model(tmp_path / "base", "llama", dtype=dtype)
    adapter, out = make_adapter(tmp_path / "adapter", base), tmp_path / "merged"
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if "lora_B" in name)
    tensors[name] = torch.full_like(tensors[name], value, dtype=torch.float32)
    save_file(tensors, file)
    with pytest.raises(WorkFailed, match="merged model"):
        do_merge(base, adapter, out)
    assert nothing_left(out)


def test_verification_notices_wrong_sums_and_a_wrong_file(tmp_path: Path) -> None:
    from finetui.core.worker.loading import load_base

    base = tiny_model(tmp_path / "base", "qwen2", dtype=torch.bfloat16)
    adapter = make_adapter(tmp_path / "adapter", base)
    do_merge(base, adapter, tmp_path / "good")
    verification = Verification(recipe_for(adapter), base, adapter, CPU)
    with pytest.raises(Refused, match="not base plus adapter"):
        verification.sums(load_base(base, dtype=torch.float32))
    verification.rounded(load_base(tmp_path / "good"))
    assert verification.written(tmp_path / "good")["passed"]
    for wrong in (base, make_full(tmp_path / "wrong", tmp_path / "good")):
        with pytest.raises(Refused, match="read back"):
            verification.written(wrong)


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))


def test_a_disk_that_fills_up_while_writing_leaves_nothing(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "llama")
    adapter, out = make_adapter(tmp_path / "adapter", base), tmp_path / "merged"
    result, _ = run_in_foreground("merge", request(base, adapter, out), preexec=limit_file_size)
    assert (result.state, result.exit_code) == ("failed", 1)
    assert result.error is not None
    assert result.error["kind"] == "disk"
    assert nothing_left(out)


def test_a_disk_without_room_is_noticed_before_anything_is_loaded(tmp_path: Path) -> None:
    with small_disk(tmp_path, "1m") as disk:
        base, out = tiny_model(tmp_path / "base", "llama"), disk / "merged"
        with pytest.raises(DiskError, match="MB are free"):
            do_merge(base, make_adapter(tmp_path / "adapter", base), out)
        assert nothing_left(out)


@pytest.mark.parametrize(("free", "device"), [(1 << 40, "cuda"), (1000, "cpu")])
def test_a_gpu_is_used_only_where_it_clearly_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, device: str) -> None:
    monkeypatch.setattr(merge, "compute_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 1 << 40))
    assert merge.roomy_device(tiny_model(tmp_path / "base", "qwen2")).type == device


def test_running_out_of_memory_says_what_a_merge_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from peft.tuners.lora import LoraModel

    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    base = tiny_model(tmp_path / "base", "qwen2")
    adapter = make_adapter(tmp_path / "adapter", base)
    monkeypatch.setattr(LoraModel, "merge_and_unload", fail)
    with pytest.raises(OutOfMemory, match="float32") as raised:
        do_merge(base, adapter, tmp_path / "merged")
    assert "--verify" in raised.value.hint
    assert nothing_left(tmp_path / "merged")


def test_a_torn_adapter_leaves_nothing(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "llama")
    adapter, out = make_adapter(tmp_path / "adapter", base), tmp_path / "merged"
    with open(adapter / "adapter_model.safetensors", "r+b") as file:
        file.truncate(3000)
    with pytest.raises(FineTUIError, match=r"adapter_model\.safetensors"):
        do_merge(base, adapter, out)
    assert nothing_left(out)
