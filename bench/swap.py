"""Swapping adapters: our engine beside PEFT's own calls, in one process, on one randomly initialised base.

    python bench/swap.py [--adapters 8] [--hidden 512] [--layers 8]

Prints milliseconds (medians) and the ratio to ours. The base is smaller than what people serve; PEFT's costs grow with the number of
modules and of resident adapters, ours do not depend on either for a warm swap.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bases import heading, random_adapter, random_base

ROUNDS = 15


def median_ms(action: Callable[[int], Any], rounds: int = ROUNDS) -> float:
    """Median wall milliseconds of ``action(round)``; one round to warm up."""
    times = []
    for number in range(rounds + 1):
        started = time.perf_counter()
        action(number)
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times[1:])


def measure_ours(base: Path, adapters: list[Path]) -> dict[str, float]:
    """Cold (load one more adapter) and warm (switch between residents)."""
    from finetui.core.worker.engine import Engine

    engine = Engine(base)
    for folder in adapters[:-1]:
        engine.add(folder.name, folder)

    def cold(_: int) -> None:
        engine.add("cold", adapters[-1])
        engine.activate("cold")
        engine.remove("cold")

    names = [folder.name for folder in adapters[:-1]]
    return {"cold": median_ms(cold), "warm": median_ms(lambda number: engine.activate(names[number % len(names)]))}


def measure_peft(base: Path, adapters: list[Path]) -> dict[str, float]:
    """``load_adapter`` + ``set_adapter``, ``hotswap_adapter``, and ``set_adapter`` between residents."""
    from peft import PeftModel
    from peft.utils.hotswap import hotswap_adapter
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapters[0]), adapter_name=adapters[0].name)
    for folder in adapters[1:-1]:
        model.load_adapter(str(folder), adapter_name=folder.name)

    def cold(_: int) -> None:
        model.load_adapter(str(adapters[-1]), adapter_name="cold")
        model.set_adapter("cold", inference_mode=True)
        model.delete_adapter("cold")

    names = [folder.name for folder in adapters[:-1]]
    return {
        "cold": median_ms(cold, 5),
        "hotswap": median_ms(lambda _: hotswap_adapter(model, str(adapters[-1]), adapter_name=names[0]), 5),
        "warm": median_ms(lambda number: model.set_adapter(names[number % len(names)], inference_mode=True)),
    }


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adapters", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    arguments = parser.parse_args()
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as scratch:
        base = random_base(Path(scratch) / "base", hidden=arguments.hidden, layers=arguments.layers, heads=8)
        model = AutoModelForCausalLM.from_pretrained(base)
        adapters = [random_adapter(model, Path(scratch) / f"adapter_{number}", number) for number in range(arguments.adapters)]
        ours, peft = measure_ours(base, adapters), measure_peft(base, adapters)
    print(f"\n{arguments.adapters - 1} adapters resident, r = 16 on every projection, {arguments.layers} layers of {arguments.hidden}\n")
    print(heading("", "ms", "x ours"))
    for name, value, reference in (
        ("warm swap, ours", ours["warm"], ours["warm"]),
        ("warm swap, PEFT set_adapter", peft["warm"], ours["warm"]),
        ("cold: load, switch, drop, ours", ours["cold"], ours["cold"]),
        ("cold: load_adapter, set_adapter, delete, PEFT", peft["cold"], ours["cold"]),
        ("cold: PEFT hotswap_adapter", peft["hotswap"], ours["cold"]),
    ):
        print(f"{name:<44}{value:>14.4f}{value / reference:>14.1f}")


if __name__ == "__main__":
    main()
