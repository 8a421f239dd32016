"""Generation: the same tokens as plain transformers, and text that arrives in whole characters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from finetui.core.api import Turn
from finetui.core.errors import NotFound, UsageError
from finetui.core.options import parse
from finetui.core.sampling import Sampling, changes
from finetui.core.worker.engine import Engine
from finetui.core.worker.generate import _TextStream, end_tokens, generate, prompt_ids
from support.adapters import lora, make_adapter
from support.models import FAMILIES, tiny_model, tiny_tokenizer


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_are_those_of_plain_transformers(tmp_path: Path, family: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = tiny_model(tmp_path / "base", family)
    adapter = make_adapter(tmp_path / "a", base)
    engine = Engine(base)
    engine.add("a", adapter)
    ids = prompt_ids(engine.tokenizer, "The quick brown fox", [])
    for name in (None, "a", None):
        pieces: list[str] = []
        answer = generate(engine, ids, name, Sampling(max_new_tokens=24), on_text=pieces.append)
        model: Any = AutoModelForCausalLM.from_pretrained(base)
        model = model if name is None else PeftModel.from_pretrained(model, adapter)
        expected = model.eval().generate(input_ids=torch.tensor([ids]), max_new_tokens=24, do_sample=False)[0, len(ids) :]
        assert answer.text == engine.tokenizer.decode(expected, skip_special_tokens=True)
        assert answer.text == "".join(pieces)
        assert answer.tokens == len(expected)
        assert answer.prompt_tokens == len(ids)
        assert 0 < answer.first_token_seconds <= answer.seconds
        assert answer.swap_seconds < 0.1


def test_prompt_tuning_generates_through_peft(tmp_path: Path) -> None:
    from peft import PeftModel, PromptTuningConfig
    from transformers import AutoModelForCausalLM

    base = tiny_model(tmp_path / "base", "qwen2")
    adapter = make_adapter(tmp_path / "a", base, config=PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4), scale=1.0)
    engine = Engine(base)
    engine.add("a", adapter)
    ids = prompt_ids(engine.tokenizer, "Name three colours", [])
    alone = generate(engine, ids, None, Sampling(max_new_tokens=12)).text
    model: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    expected = model.generate(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=12, do_sample=False)
    assert generate(engine, ids, "a", Sampling(max_new_tokens=12)).text == engine.tokenizer.decode(
        expected[0, len(ids) :], skip_special_tokens=True
    )
    assert generate(engine, ids, None, Sampling(max_new_tokens=12)).text == alone


def test_seeds_decide_what_is_sampled(tmp_path: Path) -> None:
    engine = Engine(tiny_model(tmp_path / "base", "llama"))
    ids = prompt_ids(engine.tokenizer, "Once", [])
    first, again, other = (generate(engine, ids, None, Sampling(16, temperature=1.0, seed=seed)).text for seed in (1, 1, 2))
    assert first == again
    assert first != other
    greedy = generate(engine, ids, None, Sampling(16)).text
    assert generate(engine, ids, None, Sampling(16, temperature=1.0, top_p=1e-6, seed=3)).text == greedy


def test_the_models_end_tokens_end_an_answer(tmp_path: Path) -> None:
    engine = Engine(tiny_model(tmp_path / "base", "qwen2"))
    ids = prompt_ids(engine.tokenizer, "Hello", [])
    long = generate(engine, ids, None, Sampling(20))
    assert long.finish == "length"
    stop_at = generate_ids(engine, ids)[6]
    engine.base.generation_config.eos_token_id = [stop_at]
    short = generate(engine, ids, None, Sampling(20))
    assert short.finish == "end"
    assert short.tokens == generate_ids(engine, ids).index(stop_at) + 1


def generate_ids(engine: Engine, ids: list[int]) -> list[int]:
    with torch.no_grad():
        output = engine.base.generate(input_ids=torch.tensor([ids]), max_new_tokens=20, do_sample=False, eos_token_id=None)
    return output[0, len(ids) :].tolist()


def test_the_chat_templates_end_of_turn_ends_an_answer_whatever_the_tokenizer_says(tmp_path: Path) -> None:
    engine = Engine(tiny_model(tmp_path / "base", "qwen2", chat_template=True))
    engine.tokenizer.eos_token = "<|endoftext|>"
    engine.base.generation_config.eos_token_id = None
    engine.base.config.eos_token_id = None
    ends = engine.tokenizer.convert_ids_to_tokens(end_tokens(engine.tokenizer, engine.base))
    assert set(ends) == {"<|endoftext|>", "<|im_end|>"}


def test_a_prompt_is_one_user_turn_unless_raw(tmp_path: Path) -> None:
    with_template, without = tiny_tokenizer(True), tiny_tokenizer(False)
    turns = [Turn("system", "Be brief."), Turn("user", "Hi"), Turn("assistant", "Hello"), Turn("user", "Bye")]
    rendered = with_template.decode(prompt_ids(with_template, None, turns))
    assert rendered.endswith("<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n")
    assert without.decode(prompt_ids(without, None, [Turn("user", "Hi")])) == "### Instruction:\nHi\n\n### Response:\n"
    assert without.decode(prompt_ids(without, "Hi", [])) == "Hi"


@pytest.mark.parametrize("text", ["naïve café – 日本語 🎉🇩🇪 end", "plain", "🎉", " leading and trailing ", "a\u0301e"])
def test_text_is_streamed_in_whole_characters(text: str) -> None:
    tokenizer = tiny_tokenizer()
    pieces: list[str] = []
    stream = _TextStream(tokenizer, [], pieces.append)
    stream.put(torch.tensor([[1, 2, 3]]))
    for token in tokenizer(text)["input_ids"]:
        stream.put(torch.tensor([token]))
    stream.end()
    assert "".join(pieces) == stream.text == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_bytes_that_never_become_a_character_are_shown_at_the_end() -> None:
    tokenizer = tiny_tokenizer()
    stream = _TextStream(tokenizer, [], lambda text: None)
    stream.put(torch.tensor([[1]]))
    for token in tokenizer("a🎉")["input_ids"][:-1]:
        stream.put(torch.tensor([token]))
    stream.end()
    assert stream.text.startswith("a\ufffd")


def test_cancelling_keeps_what_there_is(tmp_path: Path) -> None:
    engine = Engine(tiny_model(tmp_path / "base", "gpt2"))
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked >= 5

    answer = generate(engine, prompt_ids(engine.tokenizer, "Go", []), None, Sampling(200), stop=stop)
    assert answer.finish == "cancelled"
    assert answer.tokens == 5


def test_what_cannot_be_generated(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "gpt2")
    engine = Engine(base)
    engine.add("a", make_adapter(tmp_path / "a", base, config=lora(r=2)))
    context = engine.base.config.max_position_embeddings
    with pytest.raises(UsageError, match="context"):
        generate(engine, [5] * context)
    assert generate(engine, [5] * (context - 3), None, Sampling(50)).tokens == 3
    with pytest.raises(UsageError, match="empty"):
        generate(engine, [])
    with pytest.raises(NotFound, match="b"):
        generate(engine, [5], "b")


def test_sampling_values_have_ranges() -> None:
    for wrong in ({"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 1.1}, {"top_k": -1}, {"repetition_penalty": 0.0}, {"seed": -1}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            parse(Sampling, wrong)
    assert changes(Sampling()) == ""
    assert changes(parse(Sampling, {"temperature": 0.7, "top_k": 5})) == "temperature 0.7, top_k 5"


def test_top_k_top_p_and_the_penalty_do_what_they_say(tmp_path: Path) -> None:
    engine = Engine(tiny_model(tmp_path / "base", "llama"))
    ids = prompt_ids(engine.tokenizer, "Once", [])
    greedy = generate(engine, ids, None, Sampling(24)).text
    for narrow in (Sampling(24, temperature=5.0, top_k=1), Sampling(24, temperature=5.0, top_p=0.0)):
        assert generate(engine, ids, None, narrow).text == greedy
    assert generate(engine, ids, None, Sampling(24, temperature=5.0, top_k=2)).text != greedy
    assert generate(engine, ids, None, Sampling(24, repetition_penalty=1.0)).text == greedy
    with torch.no_grad():
        expected = engine.base.generate(input_ids=torch.tensor([ids]), max_new_tokens=24, do_sample=False, repetition_penalty=1.8)
    penalised = generate(engine, ids, None, Sampling(24, repetition_penalty=1.8)).text
    assert penalised == engine.tokenizer.decode(expected[0, len(ids) :], skip_special_tokens=True) != greedy
