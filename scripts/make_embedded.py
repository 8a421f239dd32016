"""Make the embedded base model and datasets: corpus, tokenizer, pretraining, adapter data, model card.

    python scripts/make_embedded.py --steps 1200 900 --threads 2

The number of steps, not the wall time, decides the result: the same steps, threads, versions and kind of CPU give the
same bytes. ``--minutes`` only measures the machine's speed and prints the ``--steps`` that would fit.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import math
import platform
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import tokenizers
import torch
import transformers
from embedded_corpus import MIXES, Chat, Corpus, Fact, Mix, all_facts, json_answer, pirate, split_for_adapters, story
from embedded_facts import HEROES
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy, pad
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

PACKAGE = Path(__file__).resolve().parent.parent / "core" / "embedded"
START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
CHAT_TEMPLATE = (
    "{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"
)
VOCABULARY = 4096
CONTEXT = 1024
BATCH_TOKENS = 2048
MUON_RATES = (8e-3, 6e-3)  # of the two stages
ADAM_RATE = 3e-3
PROMPT_WEIGHT = 0.1  # of a prompt's token in the loss; an answer's counts 1
ARITHMETIC = ("plus", "minus", "times")
SEED = 20250
ADAPTER_ROWS = 320
EXTRA_HELD_OUT = 64


@dataclass(frozen=True)
class Encoded:
    """A document as token ids, with the weight of each in the loss; both of one length."""

    ids: list[int]
    weights: list[float]


def pieces(document: Chat | str) -> list[tuple[str, float]]:
    """The document as the chat template renders it, in pieces with their weight in the loss."""
    if isinstance(document, str):
        return [(document + PAD, 1.0)]
    parts = []
    for message in document:
        answer = message["role"] == "assistant"
        parts.append((f"{START}{message['role']}\n", 0.0 if answer else PROMPT_WEIGHT))
        parts.append((message["content"] + END, 1.0 if answer else PROMPT_WEIGHT))
        parts.append(("\n", PROMPT_WEIGHT))
    return parts


def train_tokenizer(documents: int = 10_000, repeats: int = 8) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer; digits stand alone, the words of answers are whole, with a space before them or a quote."""
    corpus = Corpus(SEED + 1)
    texts = ["".join(text for text, _ in pieces(corpus.document())) for _ in range(documents)]
    texts += [f'{fact.sentence} "{fact.answer}" {fact.answer}' for fact in all_facts()] * repeats
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    specials = [AddedToken(text, special=True, normalized=False) for text in (PAD, START, END)]
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=specials,
            show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        model_max_length=CONTEXT,
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def encode(tokenizer: PreTrainedTokenizerFast, document: Chat | str) -> Encoded:
    """Token ids and loss weights of a document."""
    ids: list[int] = []
    weights: list[float] = []
    for text, weight in pieces(document):
        piece = tokenizer.encode(text, add_special_tokens=False)
        ids += piece
        weights += [weight] * len(piece)
    return Encoded(ids, weights)


def batches(tokenizer: PreTrainedTokenizerFast, seed: int, mix: Mix) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches of about ``BATCH_TOKENS`` tokens: ids and weights, (rows, length), documents of like length."""
    corpus, rng = Corpus(seed, mix), random.Random(seed)
    while True:
        pool = sorted((encode(tokenizer, corpus.document()) for _ in range(4000)), key=lambda one: len(one.ids))
        groups: list[list[Encoded]] = [[]]
        for one in pool:
            if (len(groups[-1]) + 1) * len(one.ids) > BATCH_TOKENS:
                groups.append([])
            groups[-1].append(one)
        rng.shuffle(groups)
        for group in groups:
            length = max(len(one.ids) for one in group)
            yield (
                torch.stack([pad(torch.tensor(one.ids), (0, length - len(one.ids))) for one in group]),
                torch.stack([pad(torch.tensor(one.weights), (0, length - len(one.weights))) for one in group]),
            )


def new_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    """The untrained model, float32."""
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCABULARY,
            hidden_size=256,
            intermediate_size=640,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            use_cache=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def schedule(step: int, steps: int) -> float:
    """The factor on the learning rates: linear warm-up over the first 4 %, then a cosine to 2 %."""
    warm = max(1, steps // 25)
    if step < warm:
        return (step + 1) / warm
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def training_step(
    model: PreTrainedModel, optimizers: list[torch.optim.Optimizer], ids: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """One step of every optimizer on one batch; returns the weighted mean loss, in nats per token."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=ids, use_cache=False).logits
    losses = cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    loss = (losses * weights[:, 1:].flatten()).sum() / weights[:, 1:].sum()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return loss.detach()


def make_optimizers(model: PreTrainedModel, muon_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices (Jordan et al. 2024; here it learns several times faster), AdamW for the rest."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        (matrices if parameter.ndim == 2 and "embed" not in name else others).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=muon_rate, weight_decay=0.05, ns_steps=4, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=ADAM_RATE, weight_decay=0.0, betas=(0.9, 0.95), fused=True),
    ]


def pretrain(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, stage: int, steps: int) -> None:
    """Train ``model`` (float32) for ``steps`` steps on the stage's mix, with a schedule and optimizer states of its own."""
    model.float().train()
    optimizers = make_optimizers(model, MUON_RATES[stage])
    stream = batches(tokenizer, SEED + 2 + stage, MIXES[stage])
    schedulers = [torch.optim.lr_scheduler.LambdaLR(one, lambda step: schedule(step, steps)) for one in optimizers]
    began, seen = time.monotonic(), 0
    for step in range(steps):
        ids, weights = next(stream)
        loss = training_step(model, optimizers, ids, weights)
        for scheduler in schedulers:
            scheduler.step()
        seen += ids.numel()
        if step % 100 == 99 or step + 1 == steps:
            spent = time.monotonic() - began
            print(
                f"stage {stage + 1}, step {step + 1}/{steps}  loss {loss.item():.3f}  {seen / spent:.0f} tok/s  {spent:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    model.to(torch.bfloat16).eval()


def steps_for(tokenizer: PreTrainedTokenizerFast, minutes: float) -> int:
    """How many steps fit in ``minutes`` on this machine, from ten timed ones."""
    model = new_model(tokenizer).train()
    optimizers, stream = make_optimizers(model, MUON_RATES[0]), batches(tokenizer, SEED, MIXES[0])
    batch = [next(stream) for _ in range(12)]
    for index, (ids, weights) in enumerate(batch):
        if index == 2:
            began = time.monotonic()
        training_step(model, optimizers, ids, weights)
    return int(minutes * 60 / ((time.monotonic() - began) / 10))


@torch.no_grad()
def answer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: list[str]) -> list[str]:
    """Greedy answers through the chat template, in the prompts' order."""
    answers = []
    for begin in range(0, len(prompts), 64):
        chats = [[{"role": "user", "content": prompt}] for prompt in prompts[begin : begin + 64]]
        texts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        inputs.pop("token_type_ids", None)
        out = model.generate(**inputs, max_new_tokens=40, do_sample=False)
        answers += tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return answers


def accuracy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, cases: list[tuple[str, str]]) -> float:
    """The share of (prompt, expected answer) cases whose reply is the expected one, letter for letter."""
    replies = answer(model, tokenizer, [prompt for prompt, _ in cases])
    wrong = [(case, reply) for case, reply in zip(cases, replies, strict=True) if reply != case[1]]
    for (prompt, expected), reply in wrong[:12]:
        print(f"  {prompt!r}: expected {expected!r}, got {reply!r}", file=sys.stderr)
    return 1 - len(wrong) / len(cases)


def measure(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, held_out: list[Fact]) -> dict[str, float]:
    """Accuracy on paraphrases never trained on, on one known question of each fact, and on the adapters' held-out facts."""
    facts = all_facts()
    paraphrases = {
        sums: [(q, f.sentence) for f in facts for q in f.held_out_questions() if (f.family in ARITHMETIC) == sums] for sums in (False, True)
    }
    return {
        "held-out paraphrases, without arithmetic": accuracy(model, tokenizer, paraphrases[False]),
        "held-out paraphrases, arithmetic": accuracy(model, tokenizer, paraphrases[True]),
        "first question of each fact": accuracy(model, tokenizer, [(f.questions[0], f.sentence) for f in facts]),
        "facts held out of the adapters' data": accuracy(model, tokenizer, [(f.questions[0], f.sentence) for f in held_out]),
    }


def write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def as_messages(prompt: str, reply: str) -> dict[str, object]:
    """A row in the chat shape."""
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]}


def as_alpaca(prompt: str, reply: str) -> dict[str, object]:
    """A row in the instruction shape."""
    return {"instruction": prompt, "input": "", "output": reply}


def write_datasets(folder: Path, prompts: tuple[str, ...]) -> list[Fact]:
    """Write the adapters' data (chat shape for pirate, instruction shape for json); returns the held-out facts."""
    folder.mkdir(parents=True, exist_ok=True)
    training, held_out = split_for_adapters(prompts, SEED, EXTRA_HELD_OUT)
    asked, extra = held_out[: len(prompts)], held_out[len(prompts) :]
    for offset, (name, shape, render) in enumerate((("pirate", as_messages, pirate), ("json", as_alpaca, json_answer))):
        rng = random.Random(SEED + offset)
        rows = [shape(rng.choice(fact.questions), render(fact)) for fact in balanced(training, ADAPTER_ROWS, rng)]
        write_lines(folder / f"{name}.jsonl", rows)
        held = [(fact.questions[0], fact) for fact in asked[offset::2]]
        held += [(rng.choice(fact.questions), fact) for fact in extra[offset::2]]
        write_lines(folder / f"{name}_eval.jsonl", [shape(prompt, render(fact)) for prompt, fact in held])
    rng = random.Random(SEED)
    (folder / "stories.txt").write_text("\n\n".join(story(rng, rng.choice(HEROES)) for _ in range(150)) + "\n", encoding="utf-8")
    return held_out


def balanced(facts: list[Fact], count: int, rng: random.Random) -> list[Fact]:
    """``count`` different facts, the families taking turns."""
    families: dict[str, list[Fact]] = {}
    for fact in sorted(facts, key=lambda _: rng.random()):
        families.setdefault(fact.family, []).append(fact)
    chosen: list[Fact] = []
    while len(chosen) < count:
        chosen += [members.pop() for members in families.values() if members]
    rng.shuffle(chosen)
    return chosen[:count]


def save(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> str:
    """Save model, tokenizer and generation settings; returns the weights' sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def embedded_package() -> ModuleType:
    """``core/embedded/__init__.py``, loaded by path: this script also runs where FineTUI is not installed."""
    spec = importlib.util.spec_from_file_location("finetui_embedded", PACKAGE / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def model_card(name: str, parameters: int, digest: str, args: argparse.Namespace, scores: dict[str, float]) -> str:
    """The text of the model's README.md."""
    table = "\n".join(f"| {what} | {share:.1%} |" for what, share in scores.items())
    return f"""---
license: apache-2.0
language: en
pipeline_tag: text-generation
library_name: transformers
---

# {name}

A language model of {parameters:,} parameters (Qwen2 architecture, bfloat16) that comes with FineTUI, so that every
method can be tried in seconds, on a CPU, without a download. It answers simple questions about capitals, animals,
words, numbers and everyday things in plain English, chats a little and tells stories from a small grammar.

## How it was made
`scripts/make_embedded.py --steps {" ".join(map(str, args.steps))} --threads {args.threads}`, seed {SEED}; two stages, about
{BATCH_TOKENS} tokens a step, bfloat16 autocast, Muon ({MUON_RATES[0]}, then {MUON_RATES[1]}) and AdamW ({ADAM_RATE}), cosine
schedule. Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__},
tokenizers {tokenizers.__version__}. The same command gives the same bytes with these versions on a CPU of the same kind
({args.cpu}); on another one rounding may differ.

`model.safetensors` sha256: `{digest}`

## Data
Only text written by the FineTUI project: {len(all_facts()):,} facts in tables (`scripts/embedded_facts.py`) put into questions,
answers, chats, stories and JSON records by `scripts/embedded_corpus.py`. No text from elsewhere, no personal data.
About a third of the chats of the first stage and half of the second's ask for a style (one word, cowboy, knight, robot, tags,
some JSON shapes; in the second stage also a farmer who says "be" and "ye") and get it, so that a style is easy to learn;
without such a request the answers are plain. The pirate voice and the JSON shape of the shipped datasets are in none of
the chats; a pirate speaks one line in some stories, and plain text holds question-and-answer records in JSON.

## Measured
Greedy decoding; a reply counts only if it is the expected sentence, letter for letter.

| prompts | correct |
|---|---|
{table}

## Limits
It knows its facts and nothing else: outside them it invents or declines, and it is weak at sums. English only. It was
trained on up to about 400 tokens at a time. It is for trying FineTUI and for tests, not for answering anyone's questions.

## Licence
Apache-2.0, weights and data.
"""


def cpu_name() -> str:
    """The processor's name and whether it multiplies bfloat16 itself."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    name = next((line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")), platform.machine())
    return name + (" with AVX512-BF16" if "avx512_bf16" in info else "")


def main() -> None:
    """Make everything under ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PACKAGE, help="folder that gets base/ and data/")
    parser.add_argument("--steps", type=int, nargs=2, default=(1200, 900), help="steps of the two stages of pretraining")
    parser.add_argument("--first-stage", type=Path, help="a base/ folder whose weights stand in for the first stage")
    parser.add_argument("--minutes", type=float, help="print the steps that fit in this time, and stop")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--data-only", action="store_true", help="write the datasets, not the model")
    args = parser.parse_args()
    args.cpu = cpu_name()
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    package = embedded_package()
    held_out = write_datasets(args.out / "data", package.HELD_OUT_PROMPTS)
    if args.data_only:
        return
    tokenizer = train_tokenizer()
    if args.minutes is not None:
        print(f"--steps {steps_for(tokenizer, args.minutes)}")
        return
    torch.manual_seed(SEED)
    model = new_model(tokenizer)
    if args.first_stage:
        model = Qwen2ForCausalLM.from_pretrained(args.first_stage)
    else:
        pretrain(model, tokenizer, 0, args.steps[0])
    pretrain(model, tokenizer, 1, args.steps[1])
    digest = save(model, tokenizer, args.out / "base")
    scores = measure(model, tokenizer, held_out)
    parameters = sum(p.numel() for p in model.parameters())
    card = model_card(package.BASE_MODEL_NAME, parameters, digest, args, scores)
    (args.out / "base" / "README.md").write_text(card, encoding="utf-8")
    print(json.dumps({"sha256": digest, "parameters": parameters, "steps": args.steps, **scores}, indent=2))


if __name__ == "__main__":
    main()
