"""What a fine-tuning run will need, told beforehand from ``config.json`` and safetensors headers alone. No torch."""
