"""Put first on ``PYTHONPATH``, this shifts the wall clock of every Python process by the seconds in the file ``SHIFTED_CLOCK``, which
may change at any moment: a clock that somebody sets, or that is wrong until the network is there. The monotonic clock goes on."""

import os
import time

_now = time.time


def _shifted() -> float:
    with open(os.environ["SHIFTED_CLOCK"]) as file:
        return _now() + float(file.read() or 0.0)


if "SHIFTED_CLOCK" in os.environ:
    time.time = _shifted
