"""full, lora and qlora on four architectures: they learn, and plain transformers and PEFT load what they leave."""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from finetui.core import registry
from finetui.core.catalog.manifest import read_manifest
from finetui.core.errors import Incompatible, UsageError
from finetui.core.paths import find_home
from finetui.core.planner.reading import read_model
from finetui.core.runs.spec import TrainRequest
from finetui.core.training import TrainingOptions
from finetui.core.worker.corpus import load_corpus
from finetui.core.worker.loading import load_base, load_tokenizer
from finetui.core.worker.train import main, prepare
from support.models import FAMILIES, tiny_model
from support.training import ROWS, lines, losses, make_job, train, write_rows

CPU = torch.device("cpu")
RATES = {"full": 3e-3, "lora": 1e-2, "qlora": 1e-2}


def plain_loss(model: Any, examples: list[Any]) -> float:
    """What transformers computes for one example at a time, averaged over the loss tokens."""
    total = count = 0.0
    with torch.no_grad():
        for example in examples:
            labels = torch.tensor([example.labels])
            tokens = (labels[:, 1:] != -100).sum().item()
            total += model(input_ids=torch.tensor([example.input_ids]), labels=labels).loss.item() * tokens
            count += tokens
    return total / count


def loaded(result: dict[str, Any], base: Path, method: str) -> Any:
    """The result, opened with the libraries alone."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    if method == "full":
        return AutoModelForCausalLM.from_pretrained(result["adapter"])
    plugin = registry.load("methods", method)
    arguments = plugin.load_arguments(plugin.options(bnb_4bit_compute_dtype="float32"), CPU) if method == "qlora" else {}
    return PeftModel.from_pretrained(load_base(base, load_arguments=arguments), result["adapter"])


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_learns_and_plain_libraries_agree_with_its_evaluation(tmp_path: Path, family: str, method: str) -> None:
    base = tiny_model(tmp_path / "base", family)
    data = write_rows(tmp_path / "rows.jsonl")
    job, result = train(base, data, method, eval_data=[str(data)], training={"learning_rate": RATES[method]})
    assert losses(job)[-1] < losses(job)[0] - 0.1
    assert result["steps"] == result["total_steps"] == 10
    request = job.request(TrainRequest)
    corpus = load_corpus(request, TrainingOptions(), load_tokenizer(base), find_home())
    assert plain_loss(loaded(result, base, method).eval(), corpus.evaluation) == pytest.approx(result["eval"]["loss"], abs=1e-4)
    assert result["eval"]["perplexity"] == pytest.approx(math.exp(result["eval"]["loss"]))
    if method == "full":
        load_tokenizer(result["adapter"])


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_an_adapter_is_an_ordinary_peft_folder_with_a_manifest(tmp_path: Path, method: str) -> None:
    base = tiny_model(tmp_path / "base", "llama")
    data = write_rows(tmp_path / "rows.jsonl")
    named = {"base_model_name_or_path": "someone/tiny", "base_revision": "abc"}
    job, result = train(base, data, method, eval_split=0.25, method_options={"r": 4}, **named)
    folder = Path(result["adapter"])
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors", "finetui.json"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "someone/tiny"
    assert config["r"] == 4
    assert config["target_modules"] == sorted(["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
    manifest = read_manifest(folder)
    assert manifest is not None
    assert (manifest.method, manifest.run, manifest.seed, manifest.method_options["r"]) == (method, job.spec.run, 0, 4)
    assert (manifest.base.hub_id, manifest.base.revision, manifest.data.rows) == ("someone/tiny", "abc", 12)
    assert len(manifest.base.digest) == len(manifest.data.digest) == 64
    assert manifest.metrics["eval_loss"] == result["eval"]["loss"]
    assert manifest.versions["peft"]
    assert manifest.training_precision in ("bf16", "fp16", "fp32")


def test_full_keeps_the_precision_the_base_was_stored_in(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    base = tiny_model(tmp_path / "base", "qwen2", dtype=torch.bfloat16)
    _, result = train(base, write_rows(tmp_path / "rows.jsonl"), "full", training={"max_steps": 2})
    assert {tensor.dtype for tensor in load_file(Path(result["adapter"]) / "model.safetensors").values()} == {torch.bfloat16}
    assert json.loads((Path(result["adapter"]) / "config.json").read_text())["dtype"] == "bfloat16"
    assert read_model(Path(result["adapter"])).parameters == read_model(base).parameters


VARIANTS: list[dict[str, Any]] = [
    {"use_rslora": True}, {"use_dora": True}, {"lora_dropout": 0.2}, {"target_modules": ["c_attn"]}, {"init_lora_weights": "gaussian"},
    {"init_lora_weights": "orthogonal"}, {"init_lora_weights": "pissa"}, {"init_lora_weights": "pissa_niter_16"},
    {"init_lora_weights": "olora"}, {"init_lora_weights": "pissa", "use_rslora": True}, {"use_dora": True, "use_rslora": True, "r": 3},
]  # fmt: skip


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
def test_variants_of_lora_train_and_load_into_an_untouched_base(tmp_path: Path, family: str, options: dict[str, Any]) -> None:
    if family == "qwen2" and "target_modules" in options:
        options = {"target_modules": ["q_proj", "model.layers.1.mlp.up_proj"]}
    if (family, options.get("init_lora_weights")) == ("gpt2", "olora"):
        family = "falcon"
    base = tiny_model(tmp_path / "base", family)
    data = write_rows(tmp_path / "rows.jsonl")
    job, result = train(base, data, "lora", eval_data=[str(data)], method_options=options, training={"max_steps": 6})
    assert losses(job)[-1] < losses(job)[0]
    corpus = load_corpus(job.request(TrainRequest), TrainingOptions(), load_tokenizer(base), job.home)
    assert plain_loss(loaded(result, base, "lora").eval(), corpus.evaluation) == pytest.approx(result["eval"]["loss"], abs=2e-4)


@pytest.mark.parametrize("options", [{"bnb_4bit_quant_type": "fp4"}, {"bnb_4bit_use_double_quant": False}, {"use_dora": True}], ids=str)
def test_variants_of_qlora_train(tmp_path: Path, options: dict[str, Any]) -> None:
    job, _ = train(tiny_model(tmp_path / "base", "falcon"), write_rows(tmp_path / "rows.jsonl"), "qlora", method_options=options)
    assert losses(job)[-1] < losses(job)[0] - 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_qlora_quantises_every_projection_as_planned_and_stays_exact_through_evaluation(tmp_path: Path, family: str) -> None:
    from bitsandbytes.nn import Linear4bit

    base = tiny_model(tmp_path / "base", family)
    loop = prepare(make_job(base, write_rows(tmp_path / "rows.jsonl"), "qlora"), make_request(base, tmp_path))
    layers = [module for module in loop.model.modules() if isinstance(module, Linear4bit)]
    spec = read_model(base)
    assert len(layers) == len(spec.linears)
    assert sum(layer.in_features * layer.out_features for layer in layers) == spec.linear_parameters
    before = [layer.weight.detach().clone() for layer in layers]
    loop.evaluate()
    loop.model.eval()(input_ids=torch.tensor([[5, 6, 7]]))
    assert all(torch.equal(layer.weight, weight) for layer, weight in zip(layers, before))


def make_request(base: Path, tmp_path: Path) -> TrainRequest:
    return make_job(base, write_rows(tmp_path / "rows.jsonl"), "qlora", eval_split=0.25).request(TrainRequest)


def test_qlora_footprint_is_what_the_tensors_take(tmp_path: Path) -> None:
    from bitsandbytes.nn import Linear4bit

    base = tiny_model(tmp_path / "base", "llama")
    plugin = registry.load("methods", "qlora")
    spec = read_model(base)
    for double in (True, False):
        options = plugin.options(bnb_4bit_use_double_quant=double)
        footprint = plugin.footprint(spec, options)
        model = load_base(base, load_arguments=plugin.load_arguments(options, CPU))
        payload = constants = 0
        for module in model.modules():
            if isinstance(module, Linear4bit):
                payload += module.weight.numel()
                state = module.weight.quant_state
                constants += state.absmax.numel() * state.absmax.element_size()
                constants += state.state2.absmax.numel() * 4 if double else 0
        assert payload == footprint.quantized_parameters * footprint.quantized_bytes_per_parameter
        planned = footprint.quantized_parameters * footprint.constants_bytes_per_parameter
        assert constants == pytest.approx(planned, abs=4 * len(spec.linears))


def test_bfloat16_and_float16_train(tmp_path: Path) -> None:
    base, data = tiny_model(tmp_path / "base", "qwen2"), write_rows(tmp_path / "rows.jsonl")
    for number, precision in enumerate(({"bf16": True}, {"bf16": False, "fp16": True})):
        for method in ("full", "lora", "qlora"):
            job, _ = train(base, data, method, name=f"{method}-{number}", training={**precision, "learning_rate": RATES[method]})
            assert losses(job)[-1] < losses(job)[0] - 0.1, (precision, method)


def test_bad_target_modules_are_refused_with_what_there_is(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "gpt2")
    plugin = registry.load("methods", "lora")
    assert "c_attn" in plugin.refusal(read_model(base), "causal-lm", plugin.options(target_modules=["q_proj"]))
    assert plugin.refusal(read_model(base), "causal-lm", plugin.options(target_modules=[]))
    assert not plugin.refusal(read_model(base), "causal-lm", plugin.options(target_modules=["c_attn"]))
    with pytest.raises(UsageError, match="q_proj"):
        main(make_job(base, write_rows(tmp_path / "rows.jsonl", ROWS), method_options={"target_modules": ["q_proj"]}))


def test_dora_from_principal_parts_is_refused(tmp_path: Path) -> None:
    plugin = registry.load("methods", "lora")
    options = plugin.options(use_dora=True, init_lora_weights="pissa")
    assert "pissa" in plugin.refusal(read_model(tiny_model(tmp_path / "b", "llama")), "causal-lm", options)


def test_the_start_that_gpt2_cannot_have_is_refused(tmp_path: Path) -> None:
    plugin = registry.load("methods", "lora")
    assert "olora" in plugin.refusal(read_model(tiny_model(tmp_path / "b", "gpt2")), "causal-lm", plugin.options(init_lora_weights="olora"))


def test_an_adapter_of_other_shapes_is_refused_on_loading(tmp_path: Path) -> None:
    from finetui.core.worker.peft_support import load_adapter

    _, result = train(tiny_model(tmp_path / "a", "llama"), write_rows(tmp_path / "rows.jsonl"), training={"max_steps": 1})
    with pytest.raises(Incompatible, match="does not belong"):
        load_adapter(load_base(tiny_model(tmp_path / "b", "gpt2")), result["adapter"], "x")


def test_events_tell_the_story(tmp_path: Path) -> None:
    job, _ = train(
        tiny_model(tmp_path / "base", "qwen2", chat_template=True), write_rows(tmp_path / "rows.jsonl"), eval_split=0.25,
        training={"max_steps": 4, "eval_steps": 2, "sample_prompts": ["Say hello."], "sample_max_new_tokens": 4},
    )  # fmt: skip
    events = lines(job, "events.jsonl")
    samples = [event["data"] for event in events if event["kind"] == "sample"]
    assert [sample["step"] for sample in samples] == [0, 2, 4]
    assert all(sample["prompt"] == "Say hello." for sample in samples)
    (prepared,) = [event["data"] for event in events if event["kind"] == "prepared"]
    assert (prepared["train_examples"], prepared["eval_examples"], prepared["precision"], prepared["packed"]) == (9, 3, "fp32", True)
    assert [event["data"]["step"] for event in events if event["kind"] == "checkpoint"] == [2, 4]
    assert events[-1]["kind"] == "saved"
    training = [line for line in lines(job, "metrics.jsonl") if "loss" in line]
    keys = "step epoch time loss learning_rate grad_norm tokens loss_tokens tokens_per_second step_seconds data_seconds memory_bytes"
    assert {*keys.split(), "peak_memory_bytes"} <= training[0].keys()
    assert [line["step"] for line in training] == [1, 2, 3, 4]
    evaluations = [line for line in lines(job, "metrics.jsonl") if "eval_loss" in line]
    assert [line["step"] for line in evaluations] == [2, 4]
