"""The rooms that import torch: training, inference, evaluation and merging. Each job runs in a process of its own."""

import gc

# The libraries leave half a million objects that stay. Looked through for garbage at Python's own pace they made a worker's start an
# eighth slower; a training step leaves far less behind than this.
gc.set_threshold(10_000)
