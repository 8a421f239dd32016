"""Which parts a configuration puts where in a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ...modelspec import is_norm
from .bottleneck import Behind, BehindNorm, Beside, BesideResidual, Bottleneck, TrainedNorm
from .config import BottleneckConfig, LowRankConfig, PrefixConfig, PromptConfig, TunerConfig
from .context import Context
from .gates import Gate
from .layer import ATTRIBUTE, Part
from .lowrank import LowRank, linear_sizes
from .places import Block, Places
from .prefix import Prefix, Projection
from .prompt import Prompt, PromptKeys, PromptRows, ShiftedPositions

Maker = Callable[[Any], Part]
Plan = dict[str, dict[str, Maker]]


def plan(config: TunerConfig, model: nn.Module, places: Places, context: Context) -> Plan:
    """Path of a module to the parts that hang on it: each a name, and a function of the module that makes it.

    Raises:
        ValueError: the configuration names blocks or modules that the model does not have.
    """
    planner = _Planner(config, model, places, context)
    if config.layer_norms and config.adapter is not None:
        planner.norms(config.adapter)
    if config.adapter is not None:
        planner.bottlenecks(config.adapter)
    if config.prefix is not None:
        planner.prefixes(config.prefix)
    if config.prompt is not None:
        planner.prompt(config.prompt)
    if config.lora is not None:
        planner.updates(config.lora)
    return planner.found


@dataclass
class _Planner:
    config: TunerConfig
    model: nn.Module
    places: Places
    context: Context
    found: Plan = field(default_factory=dict)

    def put(self, path: str, name: str, make: Maker) -> None:
        self.found.setdefault(path, {})[name] = make

    def gate(self, kind: str, path: str, size: int) -> Gate | None:
        return Gate(size, self.context, (kind, path)) if self.config.gated else None

    def chosen(self, layers: list[int] | None) -> Iterator[Block]:
        blocks = self.places.blocks
        for number in range(len(blocks)) if layers is None else layers:
            if not 0 <= number < len(blocks):
                raise ValueError(f"there is no block {number}: the model has {len(blocks)}, from 0")
            yield blocks[number]

    def bottlenecks(self, config: BottleneckConfig) -> None:
        hidden = self.places.hidden

        def make(kind: type[Bottleneck], path: str) -> Maker:
            def made(module: Any) -> Part:
                part = kind(hidden, config, self.gate("adapter", path, hidden))
                return part.with_norm(self.trained_norm(module)) if isinstance(part, BehindNorm) else part

            return made

        for block in self.chosen(config.layers):
            for path, kind in _bottlenecks(config.variant, block, self.places.causal).items():
                self.put(path, "adapter", make(kind, path))

    def norms(self, config: BottleneckConfig) -> None:
        paths = [block.path + "." for block in self.chosen(config.layers)]
        for name, parameter in self.model.named_parameters():
            if parameter.ndim == 1 and is_norm(name) and _own(name) and any(name.startswith(path) for path in paths):
                self.put(name.rpartition(".")[0], "norm", TrainedNorm)

    def trained_norm(self, module: Any) -> TrainedNorm | None:
        """The norm part that the adapter being made already has at ``module``: its last adapter's."""
        if not self.config.layer_norms:
            return None
        *_, newest = getattr(module, ATTRIBUTE).finetui_part.values()
        return newest["norm"]

    def prefixes(self, config: PrefixConfig) -> None:
        places, context = self.places, self.context

        def make(number: int, path: str) -> Maker:
            gate = lambda: self.gate("prefix", path, places.hidden)  # noqa: E731
            return lambda module: Prefix(module, context, number, places.key_sizes, config, gate())

        for number, block in enumerate(places.blocks):
            self.put(block.attention, "prefix", make(number, block.attention))
        if config.projection:

            def projection(_: Any) -> Part:
                context.projection = Projection(places.hidden, len(places.blocks), places.key_sizes, config)
                return context.projection

            self.put(places.embedding, "projection", projection)

    def prompt(self, config: PromptConfig) -> None:
        places, context = self.places, self.context

        def prompt(embedding: Any) -> Part:
            context.virtual = Prompt(embedding, config)
            return context.virtual

        self.put(places.embedding, "prompt", prompt)
        if places.positions:
            self.put(places.positions, "shift", lambda _: ShiftedPositions(context, config.num_virtual_tokens))
        if not places.causal:
            self.put(f"{places.body}.encoder".lstrip("."), "rows", lambda _: PromptRows(context))
            return
        for number, block in enumerate(places.blocks):
            self.put(block.attention, "prompt", lambda module, number=number: PromptKeys(module, context, number))

    def updates(self, config: LowRankConfig) -> None:
        def make(path: str, sizes: tuple[int, int]) -> Maker:
            return lambda _: LowRank(sizes, config, self.gate("lora", path, sizes[0]))

        prefixes = tuple(block.path + "." for block in self.places.blocks)
        wanted = set(config.target_modules or ())
        for path, module in self.model.named_modules():
            sizes = linear_sizes(module)
            if sizes and path.startswith(prefixes) and _own(path) and path.rpartition(".")[2] in wanted:
                self.put(path, "lora", make(path, sizes))


def _own(path: str) -> bool:
    """Whether a path is the base's own, not inside an adapter that hangs on it."""
    return f".{ATTRIBUTE}." not in path


def _bottlenecks(variant: str, block: Block, causal: bool) -> dict[str, type[Bottleneck]]:
    """Where a block's bottlenecks go, and of which kind they are there."""
    if variant == "houlsby":
        return {block.after_attention: Behind, block.after_feed_forward: Behind}
    if variant == "pfeiffer":
        return {block.path: Behind} if causal else {f"{block.feed_forward}.LayerNorm": BehindNorm}
    return {block.feed_forward: Beside if causal else BesideResidual}
