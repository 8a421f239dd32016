"""The screen: a Textual app over `core` and `hub`. Nothing imports this package; it imports no torch and no transformers.

Data flows one way: readers run in threads and post messages (`watching`, `backend`), screens own the state,
widgets only show it.
"""
