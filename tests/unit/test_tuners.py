"""FineTUI's own tuners as PEFT adapters: counts, gradients, padding, causality, generation, saving, swapping."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from finetui.core import registry
from finetui.core.api import Task
from finetui.core.catalog.peftfiles import read_adapter, shape_conflicts
from finetui.core.errors import Incompatible
from finetui.core.options import parse
from finetui.core.planner.reading import read_model
from finetui.core.sampling import Sampling
from finetui.core.worker.engine import Engine
from finetui.core.worker.generate import generate
from finetui.core.worker.loading import load_base
from finetui.core.worker.merge import require_mergeable
from peft import PeftModel, PeftType, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from support.adapters import make_adapter, plain_logits
from support.models import ARCHITECTURES, tiny_model
from support.tuned import METHODS, disturb, logits_elsewhere, prepared, task_of, trained

IDS = torch.tensor([[7, 100, 42, 9, 250, 33, 8, 77], [12, 300, 5, 9, 41, 1, 1, 1]])
MASK = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])


def check_one(folder: Path, name: str, task: Task, **options: Any) -> None:
    """The count is as planned, all that trains gets a gradient and nothing else does; neighbours and padding change nothing."""
    model, planned = prepared(folder, name, task, **options)
    trainable = {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert sum(parameter.numel() for parameter in trainable.values()) == planned
    model.train()
    model(input_ids=IDS, attention_mask=MASK).logits.logsumexp(-1).sum().backward()
    assert [key for key, parameter in trainable.items() if parameter.grad is None] == []
    assert [key for key, parameter in model.named_parameters() if key not in trainable and parameter.grad is not None] == []
    disturb(model.eval(), 0.2)
    with torch.no_grad():
        together = model(input_ids=IDS, attention_mask=MASK).logits
        alone = model(input_ids=IDS[1:, :5], attention_mask=MASK[1:, :5]).logits
        if task == "causal-lm":
            later = model(input_ids=torch.cat([IDS[:, :5], IDS[:, 5:].flip(1) + 1], 1)).logits
            torch.testing.assert_close(later[:, :5], model(input_ids=IDS).logits[:, :5], rtol=0, atol=0)
    torch.testing.assert_close(together[1:, :5] if task == "causal-lm" else together[1:], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("family", ["falcon", "bert"])
def test_counts_gradients_padding_and_causality(tmp_path: Path, family: str, name: str) -> None:
    check_one(tiny_model(tmp_path / "base", family), name, task_of(family))


@pytest.mark.matrix
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("family", ARCHITECTURES)
def test_counts_gradients_padding_and_causality_everywhere(tmp_path: Path, family: str, name: str) -> None:
    folder = tiny_model(tmp_path / "base", family)
    check_one(folder, name, "seq-cls")
    if family != "bert":
        check_one(folder, name, "causal-lm")


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("adapter", {"variant": "pfeiffer", "layer_norms": True}),
    ("adapter", {"variant": "parallel", "layers": [1]}),
    ("prefix_tuning", {"prefix_projection": False}),
    ("p_tuning", {"encoder_reparameterization_type": "MLP"}),
    ("lora_adapter", {"lora.target_modules": "all-linear", "adapter.variant": "houlsby"}),
    ("unipelt", {"adapter.variant": "parallel", "prefix.prefix_projection": False}),
    ("prompt_tuning", {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "Say:"}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_options_change_counts_as_planned(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    for family in ("gpt2", "bert"):
        check_one(tiny_model(tmp_path / family, family), name, task_of(family), **options)


def check_saved(tmp_path: Path, family: str, names: tuple[str, ...], task: Task) -> None:
    """Trained, saved, and read again: in a new process by PEFT and transformers, and here as slots that leave no trace."""
    base = tiny_model(tmp_path / "base", family)
    folders = {name: tmp_path / name for name in names}
    wanted = {name: trained(base, folder, name, task, IDS) for name, folder in folders.items()}
    found = logits_elsewhere([(base, folder, task, IDS) for folder in folders.values()], tmp_path)
    for name, (by_peft, by_transformers) in zip(names, found):
        assert torch.equal(by_peft, wanted[name]), name
        torch.testing.assert_close(by_transformers, wanted[name], rtol=0, atol=1e-6)


def test_a_new_process_gives_the_same_logits(tmp_path: Path) -> None:
    check_saved(tmp_path, "falcon", METHODS, "causal-lm")


@pytest.mark.matrix
@pytest.mark.parametrize("family", ARCHITECTURES)
def test_a_new_process_gives_the_same_logits_everywhere(tmp_path: Path, family: str) -> None:
    for task in ("causal-lm", "seq-cls") if family != "bert" else ("seq-cls",):
        (tmp_path / task).mkdir()
        check_saved(tmp_path / task, family, METHODS, task)


@torch.no_grad()
@pytest.mark.parametrize(
    "family", ["qwen2", pytest.param("falcon", marks=pytest.mark.matrix), pytest.param("gpt2", marks=pytest.mark.matrix)]
)
def test_adapters_are_swapped_and_leave_the_base_as_it_was(tmp_path: Path, family: str) -> None:
    base = tiny_model(tmp_path / "base", family)
    wanted = {name: trained(base, tmp_path / name, name, "causal-lm", IDS) for name in METHODS}
    wanted["lora"] = plain_logits(base, make_adapter(tmp_path / "lora", base), IDS)
    engine = Engine(base)
    alone = engine.model(input_ids=IDS).logits
    weights = {key: tensor.clone() for key, tensor in engine.base.state_dict().items()}
    for name in wanted:
        assert engine.add(name, tmp_path / name).bytes > 0
    for name in (*wanted, *reversed(wanted)):
        engine.activate(name)
        assert torch.equal(engine.model(input_ids=IDS).logits, wanted[name]), name
        engine.activate(None)
        assert torch.equal(engine.model(input_ids=IDS).logits, alone)
    after = engine.base.state_dict()
    assert after.keys() == weights.keys() and all(torch.equal(after[key], tensor) for key, tensor in weights.items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in engine.base.modules())
    assert [adapter["kind"] for adapter in engine.status()["adapters"]][:3] == ["adapter", "lora+adapter", "prefix+adapter"]


@torch.no_grad()
def check_generation(base: Path, name: str) -> None:
    """Token by token with a cache as at once; several prompts padded on the left as one by one."""
    model, _ = prepared(base, name, "causal-lm", noise=0.2)
    first, rest = IDS[:1, :4], IDS[:1, 4:]
    start = model(input_ids=first, use_cache=True)
    then = model(input_ids=rest, past_key_values=start.past_key_values, use_cache=True)
    whole = model(input_ids=IDS[:1]).logits
    torch.testing.assert_close(torch.cat([start.logits, then.logits], 1), whole, rtol=1e-5, atol=1e-5)
    options: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 1}
    padded, mask = torch.stack([IDS[0], torch.tensor([1, 1, 1, *IDS[1, :5]])]), torch.stack([MASK[0], MASK[1].flip(0)])
    together = model.generate(input_ids=padded, attention_mask=mask, **options)[:, 8:]
    alone = [
        model.generate(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None], **options)[0, len(ids) :]
        for ids in (IDS[0], IDS[1, :5])
    ]
    assert torch.equal(together, torch.stack(alone))
    expected = whole[0, -1].argmax()
    assert together[0, 0] == expected


@pytest.mark.parametrize(
    ("family", "name"), [("gpt2", "prompt_tuning"), ("falcon", "unipelt"), ("qwen3", "p_tuning"), ("falcon-7b", "mam")]
)
def test_generation_with_a_cache_and_padded_prompts(tmp_path: Path, family: str, name: str) -> None:
    check_generation(tiny_model(tmp_path / "base", family), name)


@pytest.mark.matrix
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("family", [family for family in ARCHITECTURES if family != "bert"])
def test_generation_everywhere(tmp_path: Path, family: str, name: str) -> None:
    check_generation(tiny_model(tmp_path / "base", family), name)


def test_the_playground_generates_with_virtual_tokens(tmp_path: Path) -> None:
    """A prompt takes positions from GPT-2's context, a prefix does not."""
    base = tiny_model(tmp_path / "base", "gpt2")
    for name in ("prompt_tuning", "prefix_tuning"):
        trained(base, tmp_path / name, name, "causal-lm", IDS)
    engine = Engine(base)
    engine.add("prompt_tuning", tmp_path / "prompt_tuning")
    engine.add("prefix_tuning", tmp_path / "prefix_tuning")
    context = engine.base.config.max_position_embeddings
    assert generate(engine, [5] * (context - 23), "prompt_tuning", Sampling(50)).tokens == 3
    assert generate(engine, [5] * (context - 23), "prefix_tuning", Sampling(50)).tokens == 23


@pytest.mark.parametrize(("family", "name"), [("bert", "prefix_tuning"), ("falcon", "prompt_tuning"), ("falcon-7b", "unipelt")])
def test_checkpointing_loses_no_gradient(tmp_path: Path, family: str, name: str) -> None:
    """PEFT's prefix tuning silently loses them on BERT, and fails on causal models."""
    model, _ = prepared(tiny_model(tmp_path / "base", family), name, task_of(family))
    base = model.get_base_model()

    def gradients() -> dict[str, torch.Tensor]:
        model.zero_grad()
        model.train()(input_ids=IDS, attention_mask=MASK, use_cache=False).logits.logsumexp(-1).sum().backward()
        return {key: parameter.grad.clone() for key, parameter in model.named_parameters() if parameter.requires_grad}

    plain = gradients()
    base.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    base.enable_input_require_grads()
    for key, gradient in gradients().items():
        torch.testing.assert_close(gradient, plain[key], rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_several_adapters_in_one_peft_model(tmp_path: Path) -> None:
    """Names may contain each other; parts of different kinds hang on the same modules; deleting and unloading leave no trace."""
    base = tiny_model(tmp_path / "base", "llama")
    names = {"sql": "unipelt", "sql-v2": "adapter", "v2": "prompt_tuning"}
    wanted = {name: trained(base, tmp_path / name, method, "causal-lm", IDS) for name, method in names.items()}
    alone = load_base(base)
    plain = alone(input_ids=IDS).logits
    model = PeftModel.from_pretrained(alone, str(tmp_path / "sql"), adapter_name="sql")
    model.load_adapter(str(tmp_path / "sql-v2"), adapter_name="sql-v2")
    model.load_adapter(str(tmp_path / "v2"), adapter_name="v2")
    for name in (*names, *reversed(names)):
        model.set_adapter(name)
        assert torch.equal(model(input_ids=IDS).logits, wanted[name]), name
        trainable = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
        assert trainable and all(f".{name}." in key for key in trainable)
        with model.disable_adapter():
            assert torch.equal(model(input_ids=IDS).logits, plain)
    saved = get_peft_model_state_dict(model, adapter_name="sql-v2", save_embedding_layers=False)
    assert saved.keys() == {key.replace(".sql-v2.", ".") for key, _ in model.named_parameters() if ".sql-v2." in key}
    model.delete_adapter("sql")
    model.set_adapter("sql-v2")
    assert torch.equal(model(input_ids=IDS).logits, wanted["sql-v2"])
    twin = copy.deepcopy(model)
    assert torch.equal(twin(input_ids=IDS).logits, wanted["sql-v2"])
    bare = model.unload()
    assert torch.equal(bare(input_ids=IDS).logits, plain)
    assert not any("tuned" in key for key, _ in bare.named_modules())
    assert torch.equal(twin(input_ids=IDS).logits, wanted["sql-v2"])


def test_merging_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    wanted = trained(base, tmp_path / "a", "lora_adapter", "causal-lm", IDS)
    with pytest.raises(Incompatible, match=r"lora \+ adapter adapter cannot be merged.*depends on the input.*LoRA part"):
        require_mergeable(tmp_path / "a")
    model: Any = PeftModel.from_pretrained(load_base(base), str(tmp_path / "a")).eval()
    for merge in (model.merge_and_unload, model.merge_adapter):
        with pytest.raises(ValueError, match="depends on the input"):
            merge()
    with torch.no_grad():
        assert torch.equal(model(input_ids=IDS).logits, wanted)


def test_the_type_is_registered_once() -> None:
    from finetui.core.catalog.peftfiles import OWN_TYPE
    from finetui.core.worker.tuners.peft_type import FINETUI, _extend

    assert _extend(OWN_TYPE) is FINETUI is PeftType(OWN_TYPE) is PeftType[OWN_TYPE]
    assert list(PeftType).count(FINETUI) == 1 and PeftType.LORA.value == "LORA"


@pytest.mark.parametrize(("family", "name"), [("falcon-7b", "unipelt"), ("qwen2", "prompt_tuning")])
def test_they_train_on_a_base_in_four_bits(tmp_path: Path, family: str, name: str) -> None:
    base = tiny_model(tmp_path / "base", family)
    qlora, method = registry.load("methods", "qlora"), registry.load("methods", name)
    arguments = qlora.load_arguments(qlora.options(bnb_4bit_compute_dtype="float32"), torch.device("cpu"))
    model = method.prepare(load_base(base, load_arguments=arguments), method.options(), "causal-lm")
    loss = model(input_ids=IDS, labels=IDS).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert all(
        parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.requires_grad
    )


def test_an_adapter_of_another_base_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    base, other, small = tiny_model(tmp_path / "base", "qwen2"), tiny_model(tmp_path / "other", "gpt2"), tmp_path / "small"
    for name in ("prefix_tuning", "prompt_tuning"):
        trained(other, tmp_path / name, name, "causal-lm", IDS)
    trained(base, small, "adapter", "causal-lm", IDS)
    tensors = load_file(small / "adapter_model.safetensors")
    save_file({name: torch.cat([tensor, tensor]) for name, tensor in tensors.items()}, small / "adapter_model.safetensors")
    engine = Engine(base)
    with torch.no_grad():
        plain = engine.model(input_ids=IDS).logits
        for folder in (tmp_path / "prefix_tuning", tmp_path / "prompt_tuning", small):
            with pytest.raises(Incompatible, match="does not belong to this base"):
                engine.add("foreign", folder)
            assert torch.equal(engine.model(input_ids=IDS).logits, plain)
    assert not any("tuned" in name for name, _ in engine.base.named_modules())


def test_the_catalog_names_parts_and_compares_shapes(tmp_path: Path) -> None:
    base, other = tiny_model(tmp_path / "base", "qwen2"), tiny_model(tmp_path / "other", "gpt2")
    trained(base, tmp_path / "a", "unipelt", "causal-lm", IDS)
    files = read_adapter(tmp_path / "a")
    assert files.kind == "lora+prefix+adapter"
    assert shape_conflicts(files, read_model(base)) == []
    assert "none of the adapter's" in shape_conflicts(files, read_model(other))[0]


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("adapter", {"layers": [2]}, "block 2, but the model has 2"),
    ("adapter", {"layers": []}, "layers is empty"),
    ("unipelt", {"lora.target_modules": ["wq"]}, "target_modules names wq, but the model's projections are"),
    ("prompt_tuning", {"prompt_tuning_init": "TEXT"}, "needs a text"),
]


@pytest.mark.parametrize(("name", "options", "reason"), REFUSALS)
def test_what_the_model_does_not_have_is_refused(tmp_path: Path, name: str, options: dict[str, Any], reason: str) -> None:
    method = registry.load("methods", name)
    assert reason in method.refusal(read_model(tiny_model(tmp_path / "base", "qwen2")), "causal-lm", parse(method.options, options))
