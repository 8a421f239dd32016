"""The rooms that import torch: training, inference, evaluation and merging. Each job runs in a process of its own."""
