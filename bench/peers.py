"""The peers that ``training.py`` measures beside us: the tutorial way, and TRL's SFTTrainer.

Each takes the base, the rows, the number of steps and whether LoRA or every weight trains, and returns `Figures`.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, TypedDict

BATCH, MAX_LENGTH = 8, 512

WARM_UP = 2
"""Steps that are not counted: kernels are built and the heap grows in them."""


class Figures(TypedDict):
    """Non-padding tokens by the second of the clock and of the processor, and the growth of anonymous memory."""

    tokens_per_second: float
    tokens_per_cpu_second: float
    peak_memory_bytes: int


def lora_config() -> Any:
    """The LoRA that everyone trains: rank 16 on every projection."""
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")


def clock(start_bytes: int) -> Any:
    """A ``TrainerCallback`` that notes time after the warm-up and at the end, and samples memory where it is highest."""
    from finetui.core.worker.memory import anonymous_bytes
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        peak = 0
        began = (0.0, 0.0)

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.peak = max(self.peak, anonymous_bytes() - start_bytes)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.peak = max(self.peak, anonymous_bytes() - start_bytes)
            if state.global_step == WARM_UP:
                self.began = (time.perf_counter(), time.process_time())

        def figures(self, tokens: int) -> Figures:
            wall, cpu = time.perf_counter() - self.began[0], time.process_time() - self.began[1]
            return {"tokens_per_second": tokens / wall, "tokens_per_cpu_second": tokens / cpu, "peak_memory_bytes": self.peak}

    return Clock()


def tutorial(base: Path, data: Path, steps: int, lora: bool) -> Figures:
    """What tutorials show: ``padding="max_length"``, ``Trainer``, ``get_peft_model``, float32."""
    import torch
    from finetui.core.worker.memory import anonymous_bytes
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

    watch = clock(anonymous_bytes())
    tokenizer = AutoTokenizer.from_pretrained(base)
    texts = [f"### Instruction:\n{r['prompt']}\n\n### Response:\n{r['response']}" for r in map(json.loads, data.read_text().splitlines())]
    encoded = [tokenizer(text, truncation=True, max_length=MAX_LENGTH, padding="max_length") for text in texts]
    examples = [{**row, "labels": [t if m else -100 for t, m in zip(row["input_ids"], row["attention_mask"])]} for row in encoded]
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    arguments = TrainingArguments(
        output_dir=str(base.parent / "tutorial"), max_steps=steps, per_device_train_batch_size=BATCH, learning_rate=2e-4, report_to=[],
        save_strategy="no", disable_tqdm=True, train_sampling_strategy="sequential", use_cpu=True,
    )  # fmt: skip
    wrapped = get_peft_model(model, lora_config()) if lora else model
    Trainer(model=wrapped, args=arguments, train_dataset=examples, callbacks=[watch]).train()
    return watch.figures(sum(sum(row["attention_mask"]) for row in examples[WARM_UP * BATCH : steps * BATCH]))


def trl(base: Path, data: Path, steps: int, lora: bool) -> Figures:
    """TRL's SFTTrainer as fast as it goes on a CPU: packed, bf16, without checkpointing; as many tokens a step as the others."""
    import torch
    from datasets import Dataset
    from finetui.core.worker.memory import anonymous_bytes
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    watch = clock(anonymous_bytes())
    tokenizer = AutoTokenizer.from_pretrained(base)
    texts = [f"### Instruction:\n{r['prompt']}\n\n### Response:\n{r['response']}" for r in map(json.loads, data.read_text().splitlines())]
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    arguments = SFTConfig(
        output_dir=str(base.parent / "trl"), max_steps=steps, per_device_train_batch_size=BATCH // 2, learning_rate=2e-4, report_to=[],
        save_strategy="no", disable_tqdm=True, use_cpu=True, bf16=True, packing=True, max_length=MAX_LENGTH,
        gradient_checkpointing=False, dataset_num_proc=None,
    )  # fmt: skip
    trainer = SFTTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_dict({"text": texts}), processing_class=tokenizer, callbacks=[watch],
        peft_config=lora_config() if lora else None,
    )  # fmt: skip
    trainer.train()
    return watch.figures((steps - WARM_UP) * BATCH // 2 * MAX_LENGTH)
