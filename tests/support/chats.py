"""Chat templates in the styles that models ship with, and tokenizers of the two common families, for tests of rendering."""

from __future__ import annotations

from functools import cache
from typing import Any

SPECIAL = [
    "<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "[INST]", "[/INST]",
    "<think>", "</think>",
]  # fmt: skip

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""How recent byte-level tokenizers part text before merging; unlike GPT-2's way, line breaks stay together."""

_CORPUS = (
    "healthy\n\nParis\n\nadd\n\nfox\n\nlazy\n\n",
    "The quick brown fox jumps over the lazy dog.\n\nGive three tips for staying healthy.",
    "### Instruction:\nName the capital of France.\n\n### Response:\nThe capital of France is Paris.",
    "def add(a, b):\n    return a + b\n\n\nuser\nassistant\nsystem\n",
    "细胞理论是生物科学的一个理论，它认为所有生命体都是由微小的基本单元构成。",
)

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Every turn alike, a line break after the end token."""

DEFAULT_SYSTEM = "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}" + CHATML
"""Puts a system message of its own first, as Qwen2 does."""

HEADERS = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
"""Beginning-of-text token from the template, contents stripped, as Llama 3 does."""

INST = (
    "{%- if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}"
    "{% else %}{% set rest = messages %}{% endif %}{{ bos_token }}{% for m in rest %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate user and assistant') }}{% endif %}"
    "{% if m.role == 'user' %}[INST] {% if loop.last or rest[loop.index0 + 1:] | length == 1 %}"
    "{% if system is defined %}{{ system }}\n\n{% endif %}{% endif %}{{ m.content }}[/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
"""No generation prompt, roles must alternate, the system message moves to the last user turn, as Mistral does."""

THINKING = (
    "{% set ns = namespace(last=-1) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}{% set said = m.content.split('</think>')[-1].lstrip('\n') %}"
    "{% set thought = m.content.split('</think>')[0].split('<think>')[-1].strip('\n') if '</think>' in m.content else '' %}"
    "{% if loop.index0 > ns.last %}<think>\n{{ thought }}\n</think>\n\n{% endif %}{{ said }}"
    "{% else %}{{ m.content }}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Leaves out the reasoning of earlier turns and writes an empty one where the last has none, as Qwen3 does."""

FORCED_THINKING = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'assistant' %}<|im_start|>assistant\n{{ m.content.split('</think>')[-1] }}{{ eos_token }}"
    "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
"""The generation prompt opens the reasoning, the conversation leaves it out, as DeepSeek-R1's distillations do."""

TAGGED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Marks the answers itself, without their end token."""

NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
"""Refuses system messages, as Gemma does."""

LAST_TWO = "{% for m in messages[-2:] %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
"""Forgets earlier turns."""


@cache
def _byte_level(trim_offsets: bool) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    recent = [pre_tokenizers.Split(Regex(_WORDS), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False) if trim_offsets else pre_tokenizers.Sequence(recent)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return tokenizer.to_str()


@cache
def _metaspace() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=[*SPECIAL, "<unk>", *bytes_], show_progress=False)
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)])
    return tokenizer.to_str()


def chat_tokenizer(template: str | None, *, kind: str = "bytes", eos: str | None = "</s>") -> Any:
    """A tokenizer with a chat template (none: without).

    Args:
        kind: ``bytes`` (byte-level BPE as in Qwen and Llama 3), ``trimmed`` (byte-level BPE as in GPT-2 and RoBERTa, whose
            offsets leave out spaces), or ``sentences`` (SentencePiece-like, with byte fallback and a beginning-of-text token,
            as in Llama 2 and Mistral).
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    made = _metaspace() if kind == "sentences" else _byte_level(kind == "trimmed")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(made), bos_token="<s>", eos_token=eos, pad_token="<pad>")
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer
