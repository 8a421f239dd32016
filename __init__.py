"""FineTUI: a terminal app over a plugin hub for fine-tuning language models."""

__version__ = "0.1.0"
