"""Rendering and encoding: the text and tokens are the template's own, and exactly the answers carry loss."""

from __future__ import annotations

import random
from itertools import groupby
from typing import Any

import pytest
from finetui.core import registry
from finetui.core.api import CorruptFile, DataError, Encoded, Example, LossOn, Refused, Rendered, Turn, UnsafeFile
from finetui.core.data.shaping import examples
from finetui.core.worker.encoding import EncodingOptions, encode_examples
from finetui.core.worker.rendering import ChatRenderer
from support import chats
from support.chats import chat_tokenizer

KINDS = ("bytes", "trimmed", "sentences")
STYLES = {
    "chatml": chats.CHATML,
    "default_system": chats.DEFAULT_SYSTEM,
    "headers": chats.HEADERS,
    "inst": chats.INST,
    "thinking": chats.THINKING,
    "forced_thinking": chats.FORCED_THINKING,
    "tagged": chats.TAGGED,
    "none": None,
}
ENDS = {
    "chatml": "<|im_end|>\n",
    "default_system": "<|im_end|>\n",
    "headers": "<|eot_id|>",
    "inst": "</s>",
    "thinking": "<|im_end|>\n",
    "forced_thinking": "</s>",
    "tagged": "<|im_end|>",
    "none": "</s>",
}
"""What an answer ends with."""

SHORT = (Turn("user", "Name a colour."), Turn("assistant", "Blue, of course."))
LONG = (
    Turn("system", "Answer in 中文 or English."),
    Turn("user", "细胞理论是什么？"),
    Turn("assistant", "它认为所有生命体都由细胞构成。🧬 龘"),
    Turn("user", "Thanks! 👩‍👩‍👧"),
    Turn("assistant", "不客气 😀, naïve  café.\n\nBye"),
)
CONVERSATIONS = {"short": SHORT, "long": LONG}


def renderer(style: str, kind: str = "bytes") -> ChatRenderer:
    return ChatRenderer(chat_tokenizer(STYLES[style], kind=kind))


def encode_pieces(made: ChatRenderer, pieces: list[tuple[str, bool]], form: Any = "chat") -> Encoded:
    return made.encode([Rendered(tuple(pieces), form)])[0]


def encode_text(made: ChatRenderer, text: str) -> Encoded:
    return encode_pieces(made, [(text, True)], "running")


def encode(made: ChatRenderer, turns: tuple[Turn, ...]) -> Encoded:
    return encode_pieces(made, list(made.conversation(turns)))


def messages(turns: tuple[Turn, ...]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def answers(tokenizer: Any, encoded: Encoded) -> list[str]:
    """The stretches of text whose tokens carry loss."""
    pairs = list(zip(encoded.input_ids, encoded.labels, strict=True))
    assert all(label in (-100, token) for token, label in pairs)
    stretches = groupby(pairs, lambda pair: pair[1] != -100)
    return [tokenizer.decode([token for token, _ in stretch], skip_special_tokens=False) for learned, stretch in stretches if learned]


def stripped(texts: list[str]) -> list[str]:
    """Without the space that some templates put before an answer."""
    return [text.removeprefix(" ") for text in texts]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chat", CONVERSATIONS)
@pytest.mark.parametrize("style", STYLES)
def test_exactly_the_answers_carry_loss(style: str, chat: str, kind: str) -> None:
    made, turns = renderer(style, kind), CONVERSATIONS[chat]
    expected = [turn.content + ENDS[style] for turn in turns if turn.role == "assistant"]
    if style == "thinking":
        expected[-1] = "<think>\n\n</think>\n\n" + expected[-1]
    found = answers(made.tokenizer, encode(made, turns))
    assert stripped(found) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chat", CONVERSATIONS)
@pytest.mark.parametrize("style", [style for style in STYLES if style != "none"])
def test_text_and_tokens_are_those_of_transformers(style: str, chat: str, kind: str) -> None:
    made, turns = renderer(style, kind), CONVERSATIONS[chat]
    encoded = encode(made, turns)
    assert encoded.text == made.tokenizer.apply_chat_template(messages(turns), tokenize=False)
    assert encoded.input_ids == made.tokenizer.apply_chat_template(messages(turns), tokenize=True)["input_ids"]
    assert encoded.text == made.whole(turns) == "".join(text for text, _ in made.conversation(turns))


SEAMLESS = [(style, kind) for style in STYLES for kind in KINDS if style != "forced_thinking" and (style, kind) != ("headers", "trimmed")]
"""Left out: a template whose generation prompt is not part of the conversation, and GPT-2's way of parting text, which
joins line breaks only where nothing follows them."""


@pytest.mark.parametrize(("style", "kind"), SEAMLESS)
def test_training_begins_with_what_inference_shows(style: str, kind: str) -> None:
    made = renderer(style, kind)
    for turns in CONVERSATIONS.values():
        encoded = encode(made, turns)
        prompt = made.generation_prompt(turns[:-1])
        assert encoded.input_ids[: len(prompt)] == prompt
        assert encoded.labels[len(prompt)] != -100
        learned_before = sum(label != -100 for label in encoded.labels[: len(prompt)])
        assert bool(learned_before) == (len(turns) > 2)


def test_plain_fallback_text() -> None:
    made = renderer("none")
    assert encode(made, SHORT).text == "### Instruction:\nName a colour.\n\n### Response:\nBlue, of course.</s>"
    assert made.prompt_text(SHORT[:1]) == "### Instruction:\nName a colour.\n\n### Response:\n"
    assert made.prompt_text((*SHORT, Turn("user", "More"))).endswith("of course.</s>\n\n### Instruction:\nMore\n\n### Response:\n")
    assert made.prompt_text(SHORT).endswith("</s>\n\n### Response:\n")
    spaced = (Turn("system", " Be kind.\n"), Turn("user", "\n q "), Turn("assistant", "\n\n  a\n"))
    assert encode(made, spaced).text == "Be kind.\n\n### Instruction:\nq\n\n### Response:\na</s>"


def test_plain_fallback_begins_as_the_tokenizer_does() -> None:
    made = renderer("none", "sentences")
    encoded = encode(made, SHORT)
    assert encoded.input_ids == made.tokenizer(encoded.text)["input_ids"]
    assert made.tokenizer.decode(encoded.input_ids[:1]) == "<s>"
    assert encoded.labels[0] == -100
    assert renderer("none", "bytes").generation_prompt(SHORT[:1])[0] != encoded.input_ids[0]


def test_reasoning_that_a_template_keeps_or_leaves_out() -> None:
    turns = (
        Turn("user", "1+1?"),
        Turn("assistant", "<think>\none and one\n</think>2"),
        Turn("user", "2+2?"),
        Turn("assistant", "<think>\ntwo and two\n</think>4"),
    )
    made = renderer("thinking")
    assert answers(made.tokenizer, encode(made, turns)) == ["2<|im_end|>\n", "<think>\ntwo and two\n</think>\n\n4<|im_end|>\n"]
    forced = renderer("forced_thinking")
    assert answers(forced.tokenizer, encode(forced, turns)) == ["2</s>", "4</s>"]


def test_conversation_that_the_assistant_opens() -> None:
    turns = (Turn("assistant", "Welcome."), *SHORT)
    for style in ("chatml", "default_system", "headers", "thinking", "tagged", "none"):
        made = renderer(style)
        expected = ["Welcome." + ENDS[style], SHORT[1].content + ENDS[style]]
        found = answers(made.tokenizer, encode(made, turns))
        assert [text.removeprefix("<think>\n\n</think>\n\n") for text in found] == expected


def test_conversation_that_the_user_ends() -> None:
    turns = (*SHORT, Turn("user", "And another?"))
    for style in STYLES:
        made = renderer(style)
        assert stripped(answers(made.tokenizer, encode(made, turns))) == [SHORT[1].content + ENDS[style]]


def test_empty_and_repeated_answers() -> None:
    turns = (Turn("user", "Blue"), Turn("assistant", "Blue"), Turn("user", "Blue"), Turn("assistant", ""))
    for style in ("chatml", "headers", "inst", "tagged", "none"):
        made = renderer(style)
        assert stripped(answers(made.tokenizer, encode(made, turns))) == ["Blue" + ENDS[style], ENDS[style]]


@pytest.mark.parametrize("kind", KINDS)
def test_random_texts_of_many_scripts(kind: str) -> None:
    alphabet = "ab \n\t,.é日本語中文한글🎉👩‍👧́"
    chance = random.Random(7)

    def word(length: int) -> str:
        return "x" + "".join(chance.choice(alphabet) for _ in range(length)) + "x"

    for style in ("chatml", "headers", "none"):
        made = renderer(style, kind)
        for _ in range(30):
            turns = tuple(Turn(role, word(chance.randrange(12))) for role in ("user", "assistant", "user", "assistant"))
            found = answers(made.tokenizer, encode(made, turns))
            assert stripped(found) == [turns[n].content + ENDS[style] for n in (1, 3)]


def test_a_token_across_prompt_and_answer_carries_no_loss() -> None:
    made = renderer("none")
    encoded = encode_pieces(made, [("healthy\n", False), ("\nGive three", True)])
    assert encoded.input_ids == made.tokenizer("healthy\n\nGive three")["input_ids"]
    across = made.tokenizer("\n\n")["input_ids"]
    assert len(across) == 1
    assert encoded.labels[encoded.input_ids.index(across[0])] == -100
    assert answers(made.tokenizer, encoded) == ["Give three"]


def test_running_text_carries_loss_everywhere() -> None:
    for kind in KINDS:
        made = renderer("none", kind)
        encoded = encode_text(made, "细胞理论。 The fox")
        assert encoded.labels == encoded.input_ids
        assert encoded.input_ids == [*made.tokenizer("细胞理论。 The fox")["input_ids"], made.tokenizer.eos_token_id]
        assert encode_text(made, "The fox</s>").input_ids[-2:].count(made.tokenizer.eos_token_id) == 1
    endless = chat_tokenizer(None, eos=None)
    assert encode_text(ChatRenderer(endless), "fox").input_ids == endless("fox")["input_ids"]


def sft(made: ChatRenderer, *turns: tuple[Turn, ...], max_length: int = 512, loss_on: LossOn = "assistant", system_prompt: str = "") -> Any:
    rows = [Example(turns=each, source=f"a.jsonl:{n}") for n, each in enumerate(turns, start=1)]
    objective = registry.load("objectives", "sft")
    return encode_examples(rows, made, objective, EncodingOptions(max_length, loss_on, system_prompt))


def test_templates_that_refuse_name_the_row_and_the_reason() -> None:
    made = renderer("inst")
    with pytest.raises(DataError, match=r"a\.jsonl:2: .*roles must alternate") as caught:
        sft(made, SHORT, (SHORT[0], *SHORT))
    assert caught.value.hint


def test_system_message_of_a_template_without_one_goes_before_the_first_question() -> None:
    made = ChatRenderer(chat_tokenizer(chats.NO_SYSTEM))
    assert len(sft(made, SHORT)) == 1
    assert not made.notes
    (encoded,) = sft(made, LONG)
    assert encoded.text.startswith("<|im_start|>user\nAnswer in 中文 or English.\n\n细胞理论是什么？<|im_end|>\n")
    assert answers(made.tokenizer, encoded) == [turn.content + ENDS["chatml"] for turn in LONG if turn.role == "assistant"]
    assert encoded.input_ids[: len(made.generation_prompt(LONG[:2]))] == made.generation_prompt(LONG[:2])
    assert len(made.notes) == 1


def test_template_that_hides_answers_is_refused_unless_all_is_learned() -> None:
    made = ChatRenderer(chat_tokenizer(chats.LAST_TWO))
    with pytest.raises(DataError, match=r"a\.jsonl:1: .* does not tell where answer 1 of the conversation is") as caught:
        sft(made, LONG)
    assert "loss_on=all" in caught.value.hint
    (encoded,) = sft(made, LONG, loss_on="all")
    assert encoded.labels == encoded.input_ids


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ("{% for m in messages %}", CorruptFile),
        ("{{ messages.append(1) }}", UnsafeFile),
        ("{{ messages.__class__.__mro__[1].__subclasses__() }}", UnsafeFile),
        ("{{ messages[0].content + 1 }}", DataError),
        ("{{ messages[0].absent.deeper }}", DataError),
    ],
)
def test_broken_and_hostile_templates(template: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="chat template"):
        sft(ChatRenderer(chat_tokenizer(template)), SHORT)


def test_tokenizer_without_offsets_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(Refused, match="no fast form"):
        ChatRenderer(Slow())


def test_system_prompt_goes_before_conversations_that_have_none() -> None:
    made = renderer("chatml")
    first, second = sft(made, SHORT, LONG, system_prompt="Be terse.")
    assert first.text.startswith("<|im_start|>system\nBe terse.<|im_end|>\n<|im_start|>user\n")
    assert "Be terse." not in second.text


def test_long_conversations_are_cut_and_hopeless_ones_dropped() -> None:
    made = renderer("chatml")
    whole = encode(made, SHORT)
    prompt = len(made.generation_prompt(SHORT[:1]))
    wordy = (Turn("user", "word " * 200), SHORT[1])
    result = sft(made, SHORT, wordy, max_length=prompt + 2)
    assert (len(result), result.truncated, result.dropped) == (1, 2, 1)
    assert result.encoded[0].input_ids == whole.input_ids[: prompt + 2]
    assert result.encoded[0].labels == whole.labels[: prompt + 2]
    with pytest.raises(DataError, match=f"none of the 2 examples has a token left to learn from within max_length {prompt}"):
        sft(made, SHORT, wordy, max_length=prompt)


def test_long_texts_are_divided_without_loss() -> None:
    made = renderer("none")
    text = "The quick brown fox jumps over the lazy dog. " * 40
    result = encode_examples([Example(text=text)], made, registry.load("objectives", "text"), EncodingOptions(64))
    assert [len(part.input_ids) for part in result][:-1] == [64] * (len(result) - 1)
    assert [token for part in result for token in part.input_ids] == encode_text(made, text).input_ids
    assert (result.truncated, result.dropped) == (0, 0)


def test_text_objective_learns_conversations_as_a_whole() -> None:
    made = renderer("headers")
    result = encode_examples([Example(turns=SHORT)], made, registry.load("objectives", "text"), EncodingOptions(64))
    assert result.encoded[0].labels == encode(made, SHORT).input_ids


def test_no_examples_at_all() -> None:
    with pytest.raises(DataError, match="none of the 0 examples"):
        sft(renderer("chatml"))


@pytest.mark.parametrize("name", ["alpaca_en_demo.json", "alpaca_zh_demo.json", "dpo_en_demo.json"])
@pytest.mark.parametrize("style", ["default_system", "headers", "thinking", "none"])
def test_real_conversations(shared_data: Any, name: str, style: str) -> None:
    made = renderer(style)
    for example in list(examples([shared_data(name)]))[:60]:
        encoded = encode(made, example.turns)
        if style != "none":
            assert encoded.input_ids == made.tokenizer.apply_chat_template(messages(example.turns))["input_ids"]
        said = [turn.content for turn in example.turns if turn.role == "assistant"]
        found = answers(made.tokenizer, encoded)
        assert len(found) == len(said)
        for text, content in zip(found, said, strict=True):
            assert text.removesuffix(ENDS[style]).removeprefix("<think>\n\n</think>\n\n").strip() == content.strip()
