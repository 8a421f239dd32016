"""The fastest that a GPU can multiply dense matrices, by its name: what utilisation is measured against.

Figures are the vendors' own, in 10¹² floating-point operations a second, without sparsity; 16-bit products are summed in float32. Float32
is the plain kind, not TF32 (for AMD's CDNA the matrix cores', which compute in full precision). Sources: NVIDIA's data sheets of the named
products and its architecture white papers (GeForce), AMD's data sheets of the Instinct series; an MI250 or MI250X is two devices, each
with half.
"""

from __future__ import annotations

import re
from typing import Literal

Precision = Literal["bf16", "fp16", "fp32"]

_PEAKS: tuple[tuple[str, float, float, float], ...] = (
    # name as a regular expression, bf16, fp16, fp32; 0: not in hardware. The first that is found counts.
    (r"B200$", 2250, 2250, 75),
    (r"GH200", 989, 989, 67), (r"H200 NVL", 835, 835, 60), (r"H200$", 989, 989, 67),
    (r"H100 PCIe", 756, 756, 51), (r"H100 NVL", 835, 835, 60), (r"H100 80GB HBM3|H100 SXM", 989, 989, 67),
    (r"H800 PCIe", 756, 756, 51), (r"H800$", 989, 989, 67), (r"H20$", 148, 148, 44),
    (r"A[18]00[- ](?:SXM|PCI|80GB)", 312, 312, 19.5), (r"A40$", 149.7, 149.7, 37.4), (r"A30$", 165, 165, 10.3),
    (r"A10G$", 70, 70, 35), (r"A10$", 125, 125, 31.2),
    (r"L40S$", 362, 362, 91.6), (r"L40$", 181, 181, 90.5), (r"L4$", 121, 121, 30.3),
    (r"RTX 6000 Ada", 364, 364, 91.1), (r"RTX A6000$", 154.8, 154.8, 38.7), (r"RTX A5000$", 111.1, 111.1, 27.8),
    (r"V100-SXM2", 0, 125, 15.7), (r"V100-PCIE", 0, 112, 14), (r"Tesla T4$", 0, 65, 8.1),
    (r"RTX 5090$", 209.5, 209.5, 104.8), (r"RTX 4090$", 165.2, 165.2, 82.6), (r"RTX 4080$", 97.5, 97.5, 48.7),
    (r"RTX 3090 Ti$", 80, 80, 40), (r"RTX 3090$", 71, 71, 35.6), (r"RTX 3080$", 59.5, 59.5, 29.8),
    (r"MI355X", 2516, 2516, 157.3), (r"MI325X|MI300X", 1307, 1307, 163.4),
    (r"MI250X", 191.5, 191.5, 47.9), (r"MI250$", 181, 181, 45.3), (r"MI210", 181, 181, 45.3), (r"MI100", 92.3, 184.6, 46.1),
)  # fmt: skip

_PARTS = ("MIG", "GRID", "Laptop", "Max-Q")
"""Words of names that belong to a slice, or to a slower relative."""


def peak_flops(name: str, precision: Precision) -> float | None:
    """Floating-point operations a second that a device of this name reaches at best; ``None`` where it is not known.

    Args:
        name: as the driver gives it (``NVIDIA H100 80GB HBM3``).
        precision: of the products.
    """
    if any(word in name for word in _PARTS):
        return None
    column = {"bf16": 0, "fp16": 1, "fp32": 2}[precision]
    for pattern, *peaks in _PEAKS:
        if re.search(rf"\b(?:{pattern})", name):
            return peaks[column] * 1e12 or None
    return None
