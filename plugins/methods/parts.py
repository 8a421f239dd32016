"""What the methods built on FineTUI's own tuners share: options, parameter counts and configurations of their parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...core.api import Footprint, LinearSpec, ModelSpec, PeftMethod, Task, option
from ...core.modelspec import is_norm
from ...core.planner.architectures import read_sizes, text_config

if TYPE_CHECKING:
    from peft import PeftConfig

    from ...core.worker.tuners import BottleneckConfig, LowRankConfig, PrefixConfig

_QUERIES_AND_VALUES = frozenset({"q_proj", "v_proj", "query", "value", "query_key_value", "c_attn", "qkv_proj"})
"""Last parts of the names of the projections to queries and values; those that make them together with the keys where they are fused."""

_ATTENTION_NAMES = (".self_attn.", ".self_attention.", ".attn.", ".attention.self.")
"""As `core.worker.tuners.places` finds attention modules."""


# Options ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BottleneckOptions:
    """Of a bottleneck adapter."""

    variant: Literal["houlsby", "pfeiffer", "parallel"] = option(
        "houlsby", "houlsby: behind attention and feed-forward; pfeiffer: behind the feed-forward; parallel: beside the feed-forward."
    )
    reduction_factor: int = option(16, "The bottleneck's width is the hidden size divided by this.", minimum=1)
    non_linearity: Literal["relu", "gelu", "silu", "tanh"] = option("gelu", "Between the two projections.")
    scaling: float = option(1.0, "The adapter's output is multiplied by this.", minimum=0.0, advanced=True)
    dropout: float = option(0.0, "Dropout before the bottleneck.", minimum=0.0, maximum=1.0, advanced=True)
    layers: list[int] | Literal["all"] = option("all", "Blocks that get an adapter, counted from 0.", advanced=True)


@dataclass(frozen=True)
class PrefixOptions:
    """Of a prefix; names as in PEFT's ``PrefixTuningConfig``."""

    num_virtual_tokens: int = option(20, "Length of the prefix.", minimum=1)
    prefix_projection: bool = option(True, "Train the prefix as the output of a small network: steadier. It is saved without it.")
    encoder_hidden_size: int = option(512, "Width of that network.", minimum=1, advanced=True)


@dataclass(frozen=True)
class GatedLowRankOptions:
    """Of LoRA whose scale is a gate."""

    r: int = option(8, "Rank of the update matrices.", minimum=1)
    lora_dropout: float = option(0.0, "Dropout before the update matrices.", minimum=0.0, maximum=1.0, advanced=True)
    target_modules: list[str] | Literal["auto", "all-linear"] = option(
        "auto", "Projections that get an update: auto takes those of queries and values, or a list of names."
    )


@dataclass(frozen=True)
class LowRankOptions(GatedLowRankOptions):
    """Of LoRA; names as in PEFT's ``LoraConfig``."""

    lora_alpha: float = option(16, "Scale of the update: it is multiplied by lora_alpha / r.", minimum=0)


# Counts, and the configurations that they count ---------------------------------------------------------------------


def bottleneck_size(hidden: int, options: BottleneckOptions) -> int:
    """Width of the bottleneck."""
    return max(1, hidden // options.reduction_factor)


def bottleneck_parameters(model: ModelSpec, options: BottleneckOptions, *, gated: bool = False) -> int:
    """``2 h m + m + h`` for each adapter, ``m`` wide on ``h``; a gate has ``h + 1``."""
    hidden, size = model.hidden_size, bottleneck_size(model.hidden_size, options)
    each = 2 * hidden * size + size + hidden + (hidden + 1 if gated else 0)
    return (2 if options.variant == "houlsby" else 1) * len(blocks_of(model, options)) * each


def norm_parameters(model: ModelSpec, options: BottleneckOptions) -> int:
    """Parameters of the normalisations in the blocks that have an adapter."""
    beginnings = tuple({f"{linear.name.split(f'.{linear.block}.')[0]}.{linear.block}." for linear in model.linears})
    chosen = [name for name in beginnings if int(name.rstrip(".").rpartition(".")[2]) in blocks_of(model, options)]
    return sum(
        tensor.elements
        for name, tensor in model.tensors.items()
        if len(tensor.shape) == 1 and is_norm(name) and name.startswith(tuple(chosen))
    )


def blocks_of(model: ModelSpec, options: BottleneckOptions) -> list[int]:
    """The blocks that ``layers`` means."""
    return list(range(model.num_hidden_layers)) if isinstance(options.layers, str) else sorted(set(options.layers))


def bottleneck_config(hidden: int, options: BottleneckOptions) -> BottleneckConfig:
    """For a model of this hidden size."""
    from ...core.worker.tuners import BottleneckConfig

    return BottleneckConfig(
        variant=options.variant, size=bottleneck_size(hidden, options), non_linearity=options.non_linearity, scaling=options.scaling,
        dropout=options.dropout, layers=None if isinstance(options.layers, str) else sorted(set(options.layers)),
    )  # fmt: skip


def prefix_parameters(model: ModelSpec, options: PrefixOptions, *, gated: bool = False) -> int:
    """``2 p k`` a layer for ``p`` tokens and ``k`` key features, or the network that computes them; a gate has ``h + 1``."""
    sizes = read_sizes(text_config(model.config), model.model_type)
    outputs = model.num_hidden_layers * 2 * sizes.kv_heads * sizes.head_dim
    count = options.num_virtual_tokens * outputs
    if options.prefix_projection:
        width = options.encoder_hidden_size
        count = options.num_virtual_tokens * model.hidden_size + (model.hidden_size + 1) * width + (width + 1) * outputs
    return count + (model.num_hidden_layers * (model.hidden_size + 1) if gated else 0)


def prefix_config(options: PrefixOptions) -> PrefixConfig:
    """As the tuner takes it."""
    from ...core.worker.tuners import PrefixConfig

    return PrefixConfig(options.num_virtual_tokens, projection=options.prefix_projection, projection_size=options.encoder_hidden_size)


def update_parameters(model: ModelSpec, options: GatedLowRankOptions, *, gated: bool = False) -> int:
    """``r (in + out)`` for each chosen projection; a gate has ``in + 1``."""
    return sum(
        options.r * (linear.in_features + linear.out_features) + (linear.in_features + 1 if gated else 0)
        for linear in updated_linears(model, options)
    )


def updated_linears(model: ModelSpec, options: GatedLowRankOptions) -> list[LinearSpec]:
    """The projections that ``target_modules`` means."""
    wanted = wanted_suffixes({linear.suffix for linear in model.linears}, options)
    return [linear for linear in model.linears if linear.suffix in wanted]


def wanted_suffixes(suffixes: set[str], options: GatedLowRankOptions) -> set[str]:
    """Of the last parts of the names of a model's projections, those that are meant."""
    if options.target_modules == "all-linear":
        return suffixes
    return suffixes & (_QUERIES_AND_VALUES if isinstance(options.target_modules, str) else set(options.target_modules))


def update_config(model: Any, options: GatedLowRankOptions) -> LowRankConfig:
    """For a loaded model."""
    from ...core.worker.peft_support import block_linears
    from ...core.worker.tuners import LowRankConfig

    suffixes = wanted_suffixes({path.rpartition(".")[2] for path in block_linears(model)}, options)
    alpha = options.lora_alpha if isinstance(options, LowRankOptions) else options.r
    return LowRankConfig(r=options.r, lora_alpha=alpha, lora_dropout=options.lora_dropout, target_modules=sorted(suffixes))


# Methods ------------------------------------------------------------------------------------------------------------


class TunerMethod(PeftMethod):
    """A method made of parts of FineTUI's own tuner: say which `parts`, and how many parameters they have."""

    merges: ClassVar[bool] = False

    def refusal(self, model: ModelSpec, task: Task, options: Any) -> str:
        """Architectures whose blocks are built otherwise."""
        reason = super().refusal(model, task, options)
        if not reason and not any(part in linear.name for linear in model.linears for part in _ATTENTION_NAMES):
            return f"{model.architecture}: its attention modules have no name that is known here; lora works on any linear layers"
        return reason

    def added(self, model: ModelSpec, options: Any) -> int:
        """Parameters that train, the task's head left out."""
        raise NotImplementedError

    def virtual_tokens(self, options: Any) -> int:
        """Tokens that are put in front of every text."""
        return 0

    def parts(self, model: Any, options: Any) -> dict[str, Any]:
        """The parts by their names in `core.worker.tuners.TunerConfig`, for a loaded base."""
        raise NotImplementedError

    def footprint(self, model: ModelSpec, options: Any) -> Footprint:
        """What is added, and the task's head."""
        count = self.added(model, options)
        given = [options, *vars(options).values()]
        updates = [part for part in given if isinstance(part, GatedLowRankOptions)]
        bottlenecks = [part for part in given if isinstance(part, BottleneckOptions)]
        updated = [(linear, part.r) for part in updates for linear in updated_linears(model, part)]
        return Footprint(
            trainable_parameters=count + model.head_parameters,
            added_parameters=count,
            adapted=frozenset(linear.name for linear, _ in updated),
            virtual_tokens=self.virtual_tokens(options),
            own_masks=not self.packs,
            kept_per_token=sum(rank for _, rank in updated) + sum(_kept_by_bottlenecks(model, part) for part in bottlenecks),
        )

    def peft_config(self, model: Any, options: Any, task: Task) -> PeftConfig:
        """One configuration for all parts."""
        from ...core.worker.peft_support import task_arguments
        from ...core.worker.tuners import TunerConfig

        return TunerConfig(**task_arguments(model, task), **self.parts(model, options))


def _kept_by_bottlenecks(model: ModelSpec, options: BottleneckOptions) -> float:
    """Numbers kept of every token: both sides of the non-linearity, what the up-projection reads, and often the input."""
    each = 3 * bottleneck_size(model.hidden_size, options) + model.hidden_size / 2
    return (2 if options.variant == "houlsby" else 1) * len(blocks_of(model, options)) * each


def bad_layers(model: ModelSpec, options: BottleneckOptions) -> str:
    """A sentence about blocks that the model does not have, empty where all are there."""
    unknown = [number for number in blocks_of(model, options) if not 0 <= number < model.num_hidden_layers]
    if not blocks_of(model, options):
        return "layers is empty: no block would get an adapter"
    return f"layers names block {unknown[0]}, but the model has {model.num_hidden_layers}, counted from 0" if unknown else ""


def bad_targets(model: ModelSpec, options: GatedLowRankOptions) -> str:
    """A sentence about projections that the model does not have, empty where all are there."""
    known = {linear.suffix for linear in model.linears}
    named = [] if isinstance(options.target_modules, str) else options.target_modules
    missing = [name for name in named if name not in known]
    if missing or not updated_linears(model, options):
        wanted = ", ".join(missing) or "no projection"
        return f"target_modules names {wanted}, but the model's projections are {', '.join(sorted(known))}"
    return ""
