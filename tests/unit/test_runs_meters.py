"""The meters of a run's devices: one reading, and what a whole run comes to."""

from __future__ import annotations

from typing import Any

import pytest
from finetui.core.runs import meters


def _line(number: int, **reading: Any) -> dict[str, Any]:
    return {"time": 100.0 + number, "devices": [{"id": "0", "uuid": "GPU-x", **reading}]}


def test_the_cpu_s_reading() -> None:
    (reading,) = meters.read(frozenset({"cpu"}))
    assert reading["id"] == "cpu" and 0 < reading["memory_bytes"] < reading["memory_total"] and "temperature" not in reading


def test_means_extremes_and_history_of_a_long_run() -> None:
    lines = [
        _line(n, utilisation=n % 100, memory_bytes=n * 10, memory_total=80_000, temperature=60 + n % 7, power=200) for n in range(1000)
    ]
    (found,) = meters.summarise(lines)
    assert found["utilisation"] == pytest.approx(49.5) and found["peak_memory_bytes"] == 9990 and found["temperature"] == 66
    assert found["power"] == 200 and found["problem"] == ""
    times = [reading["time"] for reading in found["history"]]
    assert len(times) == meters.HISTORY and times[0] == 100.0 and times[-1] == 1099.0 and times == sorted(times)
    gaps = {round(after - before) for before, after in zip(times, times[1:])}
    assert gaps <= {16, 17, 18}


@pytest.mark.parametrize("count", [1, 2, 59, 60, 61, 119])
def test_a_history_has_every_reading_once(count: int) -> None:
    (found,) = meters.summarise([_line(n, utilisation=1) for n in range(count)])
    times = [reading["time"] for reading in found["history"]]
    assert len(times) == len(set(times)) == min(count, meters.HISTORY) and (times[0], times[-1]) == (100.0, 99.0 + count)


def test_a_device_that_was_lost_and_figures_it_never_gave() -> None:
    (found,) = meters.summarise([_line(0, memory_bytes=5, memory_total=9), _line(1, problem="the GPU has fallen off the bus")])
    assert found["problem"] == "the GPU has fallen off the bus" and found["peak_memory_bytes"] == 5
    assert found["utilisation"] is None and found["temperature"] is None and found["history"][1]["memory_bytes"] is None
    assert meters.summarise([]) == []
