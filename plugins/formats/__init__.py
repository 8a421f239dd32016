"""Shapes that rows of data come in, recognised by the names and types of their columns."""
