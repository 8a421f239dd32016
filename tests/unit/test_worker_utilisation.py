"""Model FLOPs utilisation: peaks by the names that drivers give, and arithmetic that torch counts, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from finetui.core.api import Footprint
from finetui.core.devices.peaks import peak_flops
from finetui.core.planner.reading import read_model
from finetui.core.planner.speed import flops_per_token
from finetui.core.runs.spec import TrainRequest
from finetui.core.worker.parallel import ALONE, World
from finetui.core.worker.precision import Precision
from finetui.core.worker.train import prepare
from finetui.core.worker.utilisation import Utilisation
from support.models import tiny_model
from support.training import make_job, write_rows
from torch.utils.flop_counter import FlopCounterMode

BF16 = Precision(torch.bfloat16, "cuda")


@pytest.mark.parametrize(
    ("name", "bf16", "fp16"),
    [
        ("NVIDIA H100 80GB HBM3", 989, 989), ("NVIDIA H100 PCIe", 756, 756), ("NVIDIA H200", 989, 989),
        ("NVIDIA A100-SXM4-80GB", 312, 312), ("NVIDIA A100 80GB PCIe", 312, 312), ("NVIDIA A10", 125, 125), ("NVIDIA A10G", 70, 70),
        ("NVIDIA L4", 121, 121), ("NVIDIA L40S", 362, 362), ("NVIDIA GeForce RTX 3090", 71, 71), ("NVIDIA GeForce RTX 4090", 165.2, 165.2),
        ("Tesla T4", None, 65), ("Tesla V100-SXM2-16GB", None, 125), ("AMD Instinct MI300X", 1307, 1307),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None, None), ("GRID A100-10C", None, None), ("NVIDIA A100-4-20C", None, None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None, None), ("NVIDIA GeForce RTX 4080 SUPER", None, None), ("Radeon RX 580", None, None),
    ],
)  # fmt: skip
def test_peaks_by_name(name: str, bf16: float | None, fp16: float | None) -> None:
    assert peak_flops(name, "bf16") == (bf16 and bf16 * 1e12)
    assert peak_flops(name, "fp16") == (fp16 and fp16 * 1e12)


@pytest.mark.parametrize(
    ("family", "method", "tolerance"),
    [("qwen2", "full", 0.01), ("gpt2", "full", 0.01), ("qwen2", "lora", 0.06), ("qwen2", "bitfit", 0.06), ("qwen2", "top_layers", 0.06)],
)
def test_the_arithmetic_is_what_torch_counts(tmp_path: Path, family: str, method: str, tolerance: float) -> None:
    """Of a real step, matrix products in attention left out; the filled-up tokens of a packed row are computed, too. Where the base
    is frozen, what goes back through the lowest of two blocks is a little less than what is counted."""
    data = write_rows(tmp_path / "rows.jsonl")
    job = make_job(tiny_model(tmp_path / "base", family), data, method, training={"per_device_train_batch_size": 12})
    loop = prepare(job, job.request(TrainRequest))
    batches = loop.batches_of(0)
    columns = sum(batch.input_ids.numel() for batch in batches)
    loss_tokens = sum(len(batch.targets) for batch in batches)
    with FlopCounterMode(display=False) as counter:
        loop.train_step()
    products = {str(operator): count for operator, count in counter.get_flop_counts()["Global"].items()}
    counted = sum(count for operator, count in products.items() if operator in ("aten.mm", "aten.addmm"))
    footprint = loop.method.footprint(loop.spec, loop.method_options)
    assert flops_per_token(loop.spec, footprint, loss_tokens / columns) * columns == pytest.approx(counted, rel=tolerance)
    job.close()


def test_the_share_of_the_peaks_of_all_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = read_model(tiny_model(tmp_path / "base", "qwen2"))
    footprint, names = Footprint(trainable_parameters=spec.parameters), iter(["NVIDIA L4", "NVIDIA L4", "unheard of"])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: next(names))

    class Two(World):
        def gather(self, *numbers: float) -> list[list[float]]:
            return [list(numbers), list(numbers)]

    def made(world: World, device: str = "cuda") -> Utilisation:
        return Utilisation(spec, footprint, torch.device(device), BF16, world)

    alone, both = made(ALONE), made(Two(0, 2))
    assert (alone.peak, both.peak) == (121e12, 242e12)
    flops: Any = [both.count(1000, 400, 8), both.count(500, 100, 8)]
    assert flops[0] > 2 * flops[1] > 0 and both.total == sum(flops)
    assert both.share(242e12, 2.0) == 0.5 and both.share(1.0, 0.0) is None
    assert made(ALONE).share(1e12, 1.0) is None and made(ALONE, "cpu").share(1e12, 1.0) is None


def test_virtual_tokens_are_computed_with(tmp_path: Path) -> None:
    spec = read_model(tiny_model(tmp_path / "base", "qwen2"))
    plain, virtual = (
        Utilisation(spec, Footprint(trainable_parameters=100, virtual_tokens=count), torch.device("cpu"), BF16, ALONE) for count in (0, 20)
    )
    assert virtual.count(1000, 0, 50) == pytest.approx(2 * plain.count(1000, 0, 50))
