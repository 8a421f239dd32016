"""All that a plugin author imports: the contracts, options and errors.

A plugin is a class that subclasses one of these contracts, registered under the entry-point group named in
`core.registry.GROUPS`. Importing this module imports the standard library and msgspec only; methods that run in a worker
(`Method.prepare` and below) import torch and PEFT inside their bodies.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from .choices import LossOn, Task
from .errors import (
    CorruptFile,
    DataError,
    DiskError,
    FineTUIError,
    Incompatible,
    NameTaken,
    NetworkError,
    NotFound,
    OutOfMemory,
    Refused,
    TokenError,
    UnsafeFile,
    UsageError,
    WorkFailed,
)
from .examples import Encoded, Example, Rendered, ToolCall, Turn
from .exportcontract import Exporter, ExportSource
from .facts import ask
from .hubcontract import AdapterHub, Found, HubContext, HubFile, PushPlan, Transfer
from .layers import Place, places
from .modelspec import LinearSpec, ModelSpec, TensorSpec
from .options import Option, describe, option, part

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig

Artifact = Literal["adapter", "delta", "model"]

# --------------------------------------------------------------------------------------------------------------------
# Methods


@dataclass(frozen=True)
class NoOptions:
    """For plugins without options."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a method does to a model, counted without loading it; the planner turns it into bytes.

    Attributes:
        trainable_parameters: parameters that receive gradients at some time, the task's head (`ModelSpec.head_parameters`) included.
        added_parameters: parameters that the base does not have (an adapter's).
        quantized_parameters: base parameters held quantised.
        quantized_bytes_per_parameter: of those, the payload without constants (0.5 for 4-bit).
        constants_bytes_per_parameter: quantisation constants on top (0.016 with double quantisation).
        trained: names of the base's tensors that train; none: all of them where more trains than was added and the head.
        adapted: names of the projections whose inputs an adapter keeps for the backward pass; none: all where something was added.
        kept_per_token: numbers that the adapter itself keeps of every token, over all blocks; none: LoRA's, from its mean rank.
        virtual_tokens: put in front of every example.
        own_masks: whether the adapter makes attention's mask anew in every block, as prefixes do.
        share_of_run: mean share of a run during which what trains does train; below 1 where weights join later.
    """

    trainable_parameters: int
    added_parameters: int = 0
    quantized_parameters: int = 0
    quantized_bytes_per_parameter: float = 0.0
    constants_bytes_per_parameter: float = 0.0
    trained: frozenset[str] | None = None
    adapted: frozenset[str] | None = None
    kept_per_token: float | None = None
    virtual_tokens: int = 0
    own_masks: bool = False
    share_of_run: float = 1.0


@dataclass(frozen=True, slots=True)
class Course:
    """How long a run will be: for methods with a schedule of their own.

    Attributes:
        total_steps: optimizer steps.
        steps_per_epoch: of a pass over the training data.
        evaluates: whether there are rows to evaluate on.
    """

    total_steps: int
    steps_per_epoch: int
    evaluates: bool


class Method(ABC):
    """One fine-tuning method.

    Class attributes say what it is; the first group of methods answers without torch, the second runs in a worker.
    The order there: `load_arguments` → ``from_pretrained`` → `prepare` → `begin` → `see_data` → (`before_step` → forward, backward →
    optimizer → `after_step`, now and then `after_evaluation`)* → `save`. ``options`` is always an instance of the class's
    ``options`` type. A method that remembers something between steps hands it out in `state`, so that a resumed run goes on
    exactly. For ``seq-cls`` the base comes with a new head (`core.worker.heads`), which every method trains and saves.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    good_for: ClassVar[str] = ""
    """When it is a good choice, in one sentence that starts with when; shown wherever methods are chosen or advised."""
    suits_most: ClassVar[bool] = False
    """Whether it suits most tasks, so that it is advised where another method does not fit."""
    reference: ClassVar[str] = ""
    """Paper or document it follows."""
    options: ClassVar[type] = NoOptions
    tasks: ClassVar[tuple[Task, ...]] = ("causal-lm", "seq-cls")
    artifact: ClassVar[Artifact] = "adapter"
    """``adapter``: a PEFT folder; ``delta``: the base's tensors that changed; ``model``: an ordinary model folder."""
    merges: ClassVar[bool] = True
    swaps: ClassVar[bool] = True
    packs: ClassVar[bool] = True
    """Whether documents may lie end to end in one row; not where something is put in front of each of them."""
    learning_rate: ClassVar[float] = 2e-4
    """Default peak learning rate."""

    def refusal(self, model: ModelSpec, task: Task, options: Any) -> str:
        """Why this method cannot train ``model`` for ``task``; empty when it can."""
        if task not in self.tasks:
            return f"{self.name} does not train {task} models"
        if task == "causal-lm" and model.architecture.endswith("ForSequenceClassification"):
            return f"{model.architecture} is a classifier without a head that writes text: train it with --task seq-cls"
        if task == "causal-lm" and not model.is_decoder:
            return f"{model.architecture} is an encoder, which writes no text: train it with --task seq-cls"
        return ""

    @abstractmethod
    def footprint(self, model: ModelSpec, options: Any) -> Footprint:
        """Count what would train, without loading anything. Must agree with `prepare` (`self_check` compares)."""

    # In a worker ---------------------------------------------------------------------------------------------------

    def load_arguments(self, options: Any, device: torch.device) -> dict[str, Any]:
        """Keyword arguments for ``from_pretrained`` (quantisation)."""
        return {}

    @abstractmethod
    def prepare(self, model: Any, options: Any, task: Task) -> Any:
        """Turn a loaded base into the model that trains, with ``requires_grad`` set; also runs on the meta device."""

    def parameter_groups(self, model: Any, options: Any, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Optimizer parameter groups; biases and one-dimensional weights (norms) are exempt from weight decay."""
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in trainable if p.ndim > 1], "lr": learning_rate, "weight_decay": weight_decay},
            {"params": [p for p in trainable if p.ndim <= 1], "lr": learning_rate, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def begin(self, model: Any, options: Any, course: Course) -> None:
        """Called once in every attempt of a run, before `load_state` and before any step."""

    def see_data(self, model: Any, options: Any, batches: Iterator[Any], run: Callable[[Any], Any]) -> None:
        """Called once in a new run before any step (not when it resumes): for starts that are computed from data.

        Args:
            batches: of the training data, padded, in the order in which it will be seen (`core.worker.batches.Batch`).
            run: puts one through the model, without gradients, in the run's precision.
        """

    def before_step(self, model: Any, options: Any, step: int, total_steps: int) -> None:
        """Called before the forward pass of optimizer step ``step`` (from 0)."""

    def after_step(self, model: Any, options: Any, step: int, total_steps: int) -> None:
        """Called after the optimizer's step, gradients still there."""

    def after_evaluation(self, model: Any, options: Any, step: int, loss: float) -> None:
        """Called with the mean evaluation loss after ``step`` optimizer steps."""

    def metrics(self, model: Any, options: Any) -> dict[str, float]:
        """Further figures of a metric line, such as the values of gates."""
        return {}

    def result(self, model: Any, options: Any) -> dict[str, Any]:
        """Further figures of the run's result and of the manifest, such as the final distribution of ranks."""
        return {}

    def state(self, model: Any, options: Any) -> dict[str, torch.Tensor]:
        """What a checkpoint must hold besides parameters and optimizer, by name."""
        return {}

    def load_state(self, model: Any, options: Any, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what `state` gave; called after `prepare`, before any step."""

    def extra_loss(self, model: Any, options: Any) -> torch.Tensor | None:
        """A scalar added to the loss (regularisation), or nothing."""
        return None

    def self_check(self, model: Any, spec: ModelSpec, options: Any) -> None:
        """Called after the first backward pass.

        Raises:
            WorkFailed: a trainable parameter has no gradient, or the count differs from `footprint`.
        """
        missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        if missing:
            raise WorkFailed(f"{self.name}: {len(missing)} parameters that should train got no gradient, first {missing[0]}")
        count = sum(p.numel() for p in model.parameters() if p.requires_grad)
        promised = self.footprint(spec, options).trainable_parameters
        if count != promised:
            raise WorkFailed(f"{self.name}: {count:,} parameters train, {promised:,} were planned")

    @abstractmethod
    def save(self, model: Any, folder: Path) -> None:
        """Write the result's weights and configuration into the (existing, empty) ``folder``: safetensors only."""


class PeftMethod(Method):
    """A method that PEFT implements: say which `PeftConfig`, the rest is here. Saved as an ordinary PEFT folder."""

    @abstractmethod
    def peft_config(self, model: Any, options: Any, task: Task) -> PeftConfig:
        """The PEFT configuration for a loaded base."""

    def prepare(self, model: Any, options: Any, task: Task) -> Any:
        """Wrap the base into a ``PeftModel``."""
        from .worker.peft_support import wrap

        return wrap(model, self.peft_config(model, options, task))

    def save(self, model: Any, folder: Path) -> None:
        """Write ``adapter_config.json`` and ``adapter_model.safetensors``."""
        from .worker.peft_support import save_adapter

        save_adapter(model, folder)


class DeltaMethod(Method):
    """A method that trains some of the base's own weights: say which, the rest is here. Saved as a delta.

    `trains` decides for tensors of files and for parameters of loaded models alike, so count and training cannot differ.
    """

    artifact = "delta"
    learning_rate = 5e-5

    @abstractmethod
    def trains(self, place: Place, options: Any) -> bool:
        """Whether the weight at ``place`` trains at some time. The task's classifier always does and is not asked for."""

    def refusal(self, model: ModelSpec, task: Task, options: Any) -> str:
        """Besides what every method refuses: options that leave nothing to train."""
        reason = super().refusal(model, task, options)
        return reason or ("" if self.footprint(model, options).trainable_parameters else "with these options nothing would train")

    def footprint(self, model: ModelSpec, options: Any) -> Footprint:
        """The chosen weights; nothing is added."""
        chosen = [place for place in places(model) if self.chooses(place, options)]
        names = frozenset(place.name for place in chosen)
        return Footprint(trainable_parameters=sum(model.tensors[name].elements for name in names), trained=names)

    def chooses(self, place: Place, options: Any) -> bool:
        """`trains`, or the task's classifier."""
        return place.part == "classifier" or self.trains(place, options)

    def prepare(self, model: Any, options: Any, task: Task) -> Any:
        """Let the chosen weights train and freeze the others."""
        from .worker.deltas import layout_of

        layout = layout_of(model, task)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(self.chooses(layout.place(name, tuple(parameter.shape)), options))
        return model

    def save(self, model: Any, folder: Path) -> None:
        """Write ``delta.safetensors``: the base's tensors that changed, in the dtype that they are stored in."""
        from .worker.deltas import save_delta

        save_delta(model, folder)


# --------------------------------------------------------------------------------------------------------------------
# Data


class DataFormat(ABC):
    """A shape that rows come in: alpaca, prompt/response, chat ``messages``, ShareGPT, plain text, text with a label."""

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    task: ClassVar[Task] = "causal-lm"
    """That such rows are for; a file is recognised among the formats of the run's task only."""
    columns: ClassVar[tuple[str, ...]] = ()
    """Column names it reads; ``--columns NAME=COLUMN`` gives a file's column one of these names."""
    priority: ClassVar[int] = 0
    """Of several formats that match as many rows, the highest is taken; plain text has the lowest, -10."""

    @abstractmethod
    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether a row has this shape; looks at names and types of columns only."""

    @abstractmethod
    def read(self, row: Mapping[str, Any], source: str) -> Example:
        """Turn a row into an example.

        Raises:
            DataError: the row has the shape's columns but not its content; the message starts with ``source``.
        """


class Renderer(ABC):
    """Turns examples into text and tokens with one model's tokenizer and chat template; lives in the worker."""

    @abstractmethod
    def conversation(self, turns: Sequence[Turn], tools: str = "", *, last_only: bool = False) -> Iterator[tuple[str, bool]]:
        """The rendered conversation in pieces: (text, whether an assistant wrote it, end-of-turn token included).

        Args:
            tools: as in `Example`.
            last_only: tell where the last answer is; earlier ones count as not the assistant's.
        """

    def whole(self, turns: Sequence[Turn], tools: str = "") -> str:
        """The rendered conversation as one text; unlike `conversation`, it need not tell who wrote what."""
        return "".join(text for text, _ in self.conversation(turns, tools))

    @abstractmethod
    def encode(self, rendered: Sequence[Rendered]) -> list[Encoded]:
        """Tokenise many examples at once, which is faster than one by one."""


class Objective(ABC):
    """What is learned from an example: which of its text is shown and which carries loss."""

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    task: ClassVar[Task] = "causal-lm"

    @abstractmethod
    def accepts(self, example: Example) -> bool:
        """Whether this objective can learn from such an example."""

    @abstractmethod
    def render(self, example: Example, renderer: Renderer, loss_on: LossOn) -> Rendered:
        """One example as text, marked where it carries loss.

        Raises:
            DataError: the chat template refuses the conversation, or does not tell where the answers are.
        """


# --------------------------------------------------------------------------------------------------------------------
# Families


class Family(ABC):
    """A plugin that makes plugins of its kind: those of some library, say, which are found rather than written.

    Its entry point is called ``prefix:*``; what it makes is called ``prefix:member`` and used like any other plugin.
    """

    name: ClassVar[str]
    """As the entry point: ``prefix:*``."""
    title: ClassVar[str]
    summary: ClassVar[str]

    @abstractmethod
    def members(self) -> list[str]:
        """Names without the prefix; called for listings and completion, so it must be quick (see `ask` for what is not)."""

    @abstractmethod
    def make(self, member: str) -> Any:
        """The plugin ``prefix:member``, an instance of the contract of its kind.

        Raises:
            NotFound: no such member.
            FineTUIError: there is one, but it cannot be used here; says why.
        """


CONTRACTS: dict[str, type] = {"methods": Method, "objectives": Objective, "formats": DataFormat, "hubs": AdapterHub, "exporters": Exporter}
"""Kind of plugin → the contract it keeps (the keys are those of `core.registry.GROUPS`)."""

__all__ = [
    "AdapterHub", "Artifact", "CorruptFile", "Course", "DataError", "DataFormat", "DeltaMethod", "DiskError", "Encoded", "Example",
    "ExportSource", "Exporter", "Family", "FineTUIError", "Footprint", "Found", "HubContext", "HubFile", "Incompatible", "LinearSpec",
    "LossOn", "Method", "ModelSpec", "NameTaken", "NetworkError", "NoOptions", "NotFound", "Objective", "Option", "OutOfMemory",
    "PeftMethod", "Place", "PushPlan", "Refused", "Rendered", "Renderer", "Task", "TensorSpec", "TokenError", "ToolCall", "Transfer",
    "Turn", "UnsafeFile", "UsageError", "WorkFailed", "ask", "describe", "option", "part", "places",
]  # fmt: skip
