"""Small model and PEFT folders written file by file, without torch: for tests of the catalog and the hubs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from finetui.core.planner.reading import read_model
from safetensors.numpy import save_file

_QWEN2 = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 64, "max_position_embeddings": 64, "tie_word_embeddings": True,
    "dtype": "float32",
}  # fmt: skip


def make_model(folder: Path, *, seed: int = 0, weights: bool = True, **config: object) -> Path:
    """A Qwen2 folder of about 7,000 random parameters; ``config`` overrides its configuration."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**_QWEN2, **config}))
    if weights:
        random = np.random.default_rng(seed)
        shapes = {name: tensor.shape for name, tensor in read_model(folder).tensors.items()}
        save_file({name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}, folder / "model.safetensors")
    return folder


def make_adapter(
    folder: Path,
    model: Path,
    *,
    rank: int = 4,
    targets: Sequence[str] = ("q_proj", "v_proj"),
    seed: int = 0,
    base: str = "",
    scale: float = 1.0,
) -> Path:
    """A LoRA folder as PEFT saves one, for the projections of ``model`` whose last name is in ``targets``."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    tensors = {}
    for linear in read_model(model).linears:
        if linear.suffix in targets:
            prefix = f"base_model.model.{linear.name}"
            tensors[f"{prefix}.lora_A.weight"] = random.normal(scale=scale, size=(rank, linear.in_features)).astype(np.float32)
            tensors[f"{prefix}.lora_B.weight"] = random.normal(scale=scale, size=(linear.out_features, rank)).astype(np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base or str(model), "r": rank, "lora_alpha": 2 * rank,
        "lora_dropout": 0.0, "target_modules": list(targets), "bias": "none", "fan_in_fan_out": False, "inference_mode": True,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def cache_model(cache: Path, repo: str, commit: str, model: Path, *, main: bool = True) -> Path:
    """Lay a folder out as a snapshot of the Hugging Face cache: blobs named by sha256, links, and ``refs/main``."""
    import hashlib

    place = cache / f"models--{repo.replace('/', '--')}"
    snapshot = place / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (place / "blobs").mkdir(exist_ok=True)
    for file in model.iterdir():
        content = file.read_bytes()
        large = file.suffix == ".safetensors"
        name = hashlib.sha256(content).hexdigest() if large else hashlib.sha1(content).hexdigest()
        (place / "blobs" / name).write_bytes(content)
        (snapshot / file.name).symlink_to(Path("../../blobs") / name)
    if main:
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / "main").write_text(commit)
    return snapshot


def make_delta(folder: Path, base: Path, *, hub_id: str = "") -> Path:
    """A delta of ``base`` that replaces its first tensor, with its manifest."""
    from finetui.core.catalog.digest import DELTA_FILE, digest_folder
    from finetui.core.catalog.manifest import BaseRef, Manifest, write_manifest
    from safetensors.numpy import load_file, save_file

    tensors = load_file(base / "model.safetensors")
    name = min(tensors)
    folder.mkdir(parents=True)
    save_file({name: tensors[name] + 1}, folder / DELTA_FILE)
    reference = BaseRef(name=hub_id or base.name, hub_id=hub_id, digest=digest_folder(base), path=str(base))
    write_manifest(folder, Manifest(name=folder.name, method="bitfit", base=reference, task="causal-lm"))
    return folder
