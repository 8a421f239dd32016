"""Anything long is a run: a directory that one supervisor process owns and any number of readers follow."""
