"""``peft:<type>``: the tuners of the installed PEFT, found and not written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from finetui.core import facts, registry
from finetui.core.api import Incompatible, NotFound, UsageError, describe
from finetui.core.options import parse
from finetui.core.planner.reading import read_model
from finetui.core.planner.tasks import for_task
from finetui.core.worker.loading import load_base
from finetui.core.worker.merge import require_mergeable
from finetui.core.worker.peft_support import merge
from finetui.core.worker.slots import load_complete, load_slot
from finetui.core.worker.train import main
from safetensors.torch import load_file
from support.driving import base_for, drive, logits, require_merges, require_swaps, saved
from support.models import ARCHITECTURES, tiny_model
from support.training import losses, make_job, train, write_rows

SMALL: dict[str, dict[str, Any]] = {
    "c3a": {"block_size": 32}, "fourierft": {"scaling": 1.0}, "road": {"group_size": 32}, "shira": {"r": 8},
    "vblora": {"vector_length": 32}, "waveft": {"n_frequency": 500},
}  # fmt: skip
"""Options that the tiny models are too small for at their defaults.

FourierFT does not start from zero, and what it adds grows as a model gets narrower: its scaling of 150 suits thousands of channels (an
update of a hundredth of the weights); with 64 its updates are twenty to eighty times as large as the weights, and float32 itself loses
the digits that merging is compared in: see `test_fourierft_s_default_start_merges_exactly`.
"""


def test_they_are_listed_as_the_installed_peft_has_them() -> None:
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    family = registry.load("methods", "peft:*")
    ours = {kind.upper() for kind in (*family.members(), *_table("_ELSEWHERE"), *_table("_UNFIT"))}
    assert ours >= {kind.value for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items() if config.__module__.startswith("peft.")}
    assert "peft:vera" in registry.members("methods") and "peft:vera" not in registry.names("methods")
    assert registry.knows("methods", "peft:lokr") and not registry.knows("methods", "peft:lora")
    plugin = registry.load("methods", "peft:loha")
    assert plugin is registry.load("methods", "peft:loha")
    assert (plugin.name, plugin.artifact, plugin.merges) == ("peft:loha", "adapter", True)


def _table(name: str) -> Any:
    from finetui.plugins.methods import peft_tuners

    return getattr(peft_tuners, name)


def test_options_are_those_of_the_configuration_class() -> None:
    from peft import VBLoRAConfig

    rows = {row.name: row for row in describe(registry.load("methods", "peft:vblora").options)}
    assert rows["num_vectors"].default == VBLoRAConfig().num_vectors and rows["num_vectors"].kind == "int"
    assert rows["layers_to_transform"].optional and rows["layers_to_transform"].default is None
    assert "vector" in rows["num_vectors"].help.lower()
    assert not rows.keys() & {"peft_type", "task_type", "bias", "fan_in_fan_out", "modules_to_save", "inference_mode"}
    lokr = registry.load("methods", "peft:lokr").options
    assert parse(lokr, {"init_weights": "lycoris", "rank_pattern": {"q_proj": 4}}).init_weights == "lycoris"
    with pytest.raises(UsageError, match="decompose_both"):
        parse(lokr, {"decompose_both": 3})


def test_types_that_cannot_train_here_are_refused_with_their_reason() -> None:
    with pytest.raises(Incompatible, match="trained before"):
        registry.load("methods", "peft:xlora")
    with pytest.raises(NotFound) as caught:
        registry.load("methods", "peft:lora")
    assert "'lora'" in caught.value.hint
    with pytest.raises(NotFound, match="no such type"):
        registry.load("methods", "peft:nothing")


def test_peft_s_own_reason_is_the_refusal(tmp_path: Path) -> None:
    spec = read_model(tiny_model(tmp_path / "base", "gpt2"))
    plugin = registry.load("methods", "peft:miss")
    assert "Conv1D" in plugin.refusal(spec, "causal-lm", plugin.options())
    plugin = registry.load("methods", "peft:osf")
    assert "nothing to train" in plugin.refusal(spec, "causal-lm", plugin.options())


def test_what_a_worker_says_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "cache"))
    first = facts.ask("finetui.core.worker.tuners_of_peft:options_of", kind="vera")
    monkeypatch.setattr(facts, "call", lambda *_: pytest.fail("asked again"))
    assert facts.ask("finetui.core.worker.tuners_of_peft:options_of", kind="vera") == first
    monkeypatch.setenv("FINETUI_CACHE", "/proc/nowhere")
    monkeypatch.setattr(facts, "call", lambda *_: "answered without a cache")
    assert facts.ask("finetui.core.worker.tuners_of_peft:options_of", kind="vera") == "answered without a cache"


def check(folder: Path, data: Path, kind: str, task: str, tmp_path: Path) -> None:
    """Everything a method promises, of one tuner on one base."""
    plugin = registry.load("methods", f"peft:{kind}")
    options = plugin.options(**SMALL.get(kind, {}))
    spec = for_task(read_model(folder), task, 4)
    refusal = plugin.refusal(spec, task, options)
    if refusal:
        assert any(words in refusal for words in _REFUSALS), refusal
        return
    model = plugin.prepare(base_for(folder, task), options, task)  # type: ignore[arg-type]
    trained = drive(plugin, model, options, 3)
    assert sum(parameter.numel() for parameter in trained) == plugin.footprint(spec, options).trainable_parameters
    expected = logits(model)
    adapter = saved(plugin, model, tmp_path / "adapter")
    require_swaps(folder, task, adapter, expected)
    if plugin.merges and not (kind == "beft" and any(f"{linear.name}.bias" not in spec.tensors for linear in spec.linears)):
        require_mergeable(adapter)
        require_merges(folder, task, adapter, expected)


_REFUSALS = ("Conv1D", "encoder", "scikit-learn", "nothing to train", "is not a plain torch.nn.Linear")


@pytest.mark.matrix
@pytest.mark.parametrize("family", ARCHITECTURES)
@pytest.mark.parametrize("kind", registry.load("methods", "peft:*").members())
def test_every_tuner_on_every_architecture(tmp_path: Path, kind: str, family: str) -> None:
    folder = tiny_model(tmp_path / "base", family)
    for task in ("causal-lm", "seq-cls"):
        (tmp_path / task).mkdir()
        check(folder, tmp_path, kind, task, tmp_path / task)


@pytest.mark.parametrize(("kind", "family", "task"), [
    ("vera", "falcon", "causal-lm"), ("ln_tuning", "bert", "seq-cls"), ("lily", "llama", "causal-lm"), ("randlora", "qwen2", "seq-cls"),
    ("shira", "qwen3", "causal-lm"),
])  # fmt: skip
def test_some_tuners_on_some_architectures(tmp_path: Path, kind: str, family: str, task: str) -> None:
    check(tiny_model(tmp_path / "base", family), tmp_path, kind, task, tmp_path)


def test_fourierft_s_default_start_merges_exactly(tmp_path: Path) -> None:
    """Where its updates dwarf the weights the sums differ by what float32 loses in any order, not by the merge: in float64 they agree."""
    folder = tiny_model(tmp_path / "base", "llama")
    plugin = registry.load("methods", "peft:fourierft")
    options = plugin.options()
    model = plugin.prepare(base_for(folder, "causal-lm"), options, "causal-lm")
    drive(plugin, model, options, 3)
    adapter = saved(plugin, model, tmp_path / "adapter")
    expected = logits(load_complete(base_for(folder, "causal-lm").double(), adapter).double())
    merged = merge(load_complete(base_for(folder, "causal-lm").double(), adapter).double())
    assert (logits(merged) - expected).abs().max() <= 1e-10 * expected.abs().max()


def test_one_trains_through_the_product(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    job, result = train(base, write_rows(tmp_path / "rows.jsonl"), "peft:lokr", method_options={"r": 4}, eval_split=0.25)
    assert losses(job)[-1] < losses(job)[0]
    plugin = registry.load("methods", "peft:lokr")
    assert result["trainable_parameters"] == plugin.footprint(read_model(base), plugin.options(r=4)).trainable_parameters
    assert load_slot(load_base(base), Path(result["adapter"])).kind == "lokr"


@pytest.mark.matrix
@pytest.mark.parametrize("kind", registry.load("methods", "peft:*").members())
def test_every_tuner_goes_on_after_a_stop_as_if_there_had_been_none(tmp_path: Path, kind: str) -> None:
    base, data = tiny_model(tmp_path / "base", "qwen2"), write_rows(tmp_path / "rows.jsonl")
    plugin, options = registry.load("methods", f"peft:{kind}"), SMALL.get(kind, {})
    if plugin.refusal(read_model(base), "causal-lm", plugin.options(**options)):
        pytest.skip("refused on this architecture")
    settings = {"method_options": options, "training": {"max_steps": 6, "save_steps": 3, "learning_rate": 1e-3}}
    whole, result = train(base, data, f"peft:{kind}", name="whole", **settings)
    again = make_job(base, data, f"peft:{kind}", name="again", **settings)
    (again.dir / "checkpoints").mkdir(exist_ok=True)
    (whole.dir / "checkpoints" / "step-00000003").rename(again.dir / "checkpoints" / "step-00000003")
    second = main(again)
    assert losses(again) == losses(whole)[3:]
    one, two = (load_file(Path(r["adapter"]) / "adapter_model.safetensors") for r in (result, second))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
