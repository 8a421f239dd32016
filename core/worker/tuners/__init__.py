"""FineTUI's own tuners for PEFT. Importing this package lets PEFT and transformers load the adapters that they save::

import finetui.core.worker.tuners
model = PeftModel.from_pretrained(base, "path/to/adapter")
"""

from __future__ import annotations

from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import register_peft_method

from .config import BottleneckConfig, LowRankConfig, PrefixConfig, PromptConfig, TunerConfig
from .gates import gate_means, gate_values
from .model import TunerModel
from .peft_type import FINETUI

if FINETUI not in PEFT_TYPE_TO_CONFIG_MAPPING:
    register_peft_method(name=FINETUI.value.lower(), config_cls=TunerConfig, model_cls=TunerModel, prefix=TunerModel.prefix)

__all__ = ["BottleneckConfig", "LowRankConfig", "PrefixConfig", "PromptConfig", "TunerConfig", "TunerModel", "gate_means", "gate_values"]
