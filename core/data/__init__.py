"""Data files: reading them, recognising the shape of their rows, checking and fingerprinting them. No torch, no tokenizer."""
