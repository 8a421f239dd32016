"""Widgets of our own: they show what they are given and post messages, and know nothing of `core`."""
