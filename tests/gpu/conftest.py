"""Fixtures of the tests that need a GPU."""

from __future__ import annotations

from support.fixtures import base, data, toys

__all__ = ["base", "data", "toys"]
