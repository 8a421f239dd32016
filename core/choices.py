"""Names that requests, records and plugins share. A module of its own because supervisors read it, which start in an instant."""

from __future__ import annotations

from typing import Literal

Task = Literal["causal-lm", "seq-cls"]
"""What is trained: writing text, or telling labels apart."""

LossOn = Literal["assistant", "last", "all"]
"""Which turns of a conversation carry loss: every one of the assistant's, its last, or everything that is shown."""
