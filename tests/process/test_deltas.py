"""Methods that change part of the base's weights: what is saved, that it comes back exactly, and that it goes nowhere else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from finetui.core.catalog.catalog import Catalog
from finetui.core.errors import Incompatible
from finetui.core.paths import find_home
from finetui.core.worker.engine import Engine
from finetui.core.worker.loading import load_base
from safetensors.torch import load_file
from support.models import tiny_model
from support.training import train, write_rows

METHODS: dict[str, dict[str, Any]] = {"top_layers": {"num_layers": 1}, "bitfit": {"terms": ["biases", "norms"]}}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "rows.jsonl")


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(4, 20)[None], use_cache=False).logits


@pytest.mark.parametrize("method", METHODS)
def test_a_delta_holds_what_changed_and_nothing_else(tmp_path: Path, data: Path, method: str) -> None:
    base = tiny_model(tmp_path / "base", "gpt2", dtype=torch.bfloat16)
    _, result = train(base, data, method, method_options=METHODS[method], training={"max_steps": 3})
    delta, before = load_file(Path(result["adapter"]) / "delta.safetensors"), load_file(base / "model.safetensors")
    assert delta and delta.keys() < before.keys()
    assert {tensor.dtype for tensor in delta.values()} == {torch.bfloat16}
    assert not any(torch.equal(tensor, before[name]) for name, tensor in delta.items())
    if method == "top_layers":
        assert all(name.startswith(("transformer.h.1.", "transformer.ln_f.", "transformer.wte.")) for name in delta)
    else:
        assert all(tensor.ndim == 1 for tensor in delta.values())


@pytest.mark.parametrize("method", METHODS)
def test_swapping_a_delta_on_and_off_is_exact_here_and_in_a_new_process(tmp_path: Path, data: Path, method: str) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    _, result = train(base, data, method, method_options=METHODS[method], training={"max_steps": 3})
    trained = load_base(base)
    trained.load_state_dict(load_file(Path(result["adapter"]) / "delta.safetensors"), strict=False)
    engine = Engine(base, device="cpu")
    plain = logits(engine.base)
    engine.add("a", Path(result["adapter"]))
    engine.activate("a")
    assert torch.equal(logits(engine.model), logits(trained)) and not torch.equal(plain, logits(trained))
    engine.activate(None)
    assert torch.equal(logits(engine.model), plain)
    program = (
        "import sys, torch; from pathlib import Path; from finetui.core.worker.engine import Engine\n"
        "engine = Engine(Path(sys.argv[1]), device='cpu'); engine.add('a', Path(sys.argv[2])); engine.activate('a')\n"
        "with torch.no_grad(): print(engine.model(input_ids=torch.arange(4, 20)[None], use_cache=False).logits.flatten().tolist())"
    )
    told = subprocess.run([sys.executable, "-c", program, str(base), result["adapter"]], capture_output=True, text=True, check=True)
    assert json.loads(told.stdout) == logits(trained).flatten().tolist()


def test_the_catalog_knows_deltas_and_refuses_them_on_another_base(tmp_path: Path, data: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    _, result = train(base, data, "bitfit", training={"max_steps": 1})
    catalog = Catalog(find_home())
    entry = catalog.adapter("result")
    assert (entry.artifact, entry.method, entry.path, entry.peft_type) == ("delta", "bitfit", result["adapter"], "")
    assert entry.digest and entry.parameters == 256
    catalog.check_pair(catalog.model(str(base)), entry)
    other = catalog.model(str(tiny_model(tmp_path / "other", "qwen2", seed=1)))
    for force in (False, True):
        with pytest.raises(Incompatible, match="was trained on"):
            catalog.check_pair(other, entry, ignore_digest=force)
    (Path(entry.path) / "finetui.json").unlink()
    with pytest.raises(Incompatible, match="does not say which base"):
        catalog.check_pair(catalog.model(str(base)), catalog.adapter(entry.path))
