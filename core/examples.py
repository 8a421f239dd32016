"""What data is made of: a row as an example, the example as text, the text as tokens. Re-exported by `core.api`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the assistant calls.

    Attributes:
        arguments: a JSON object, as text.
        id: what its result refers to; empty: results follow in the order of the calls.
    """

    name: str
    arguments: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message.

    Attributes:
        role: ``system``, ``user``, ``assistant``, or ``tool`` for what a called function gave.
        calls: functions that the assistant calls; its ``content`` may be empty then.
        call_id: of a ``tool`` turn: the call it answers; empty: the first one that is not answered yet.
    """

    role: str
    content: str
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """One row of data in the form every objective understands.

    Attributes:
        turns: the conversation; empty for plain text.
        text: running text, or the text to classify; empty for conversations.
        label: its class by name; none where nothing is to be classified.
        source: ``file:line`` (or ``file: row n``), for error messages.
        tools: functions that the assistant may call: a JSON list of ``{"type": "function", "function": {…}}``, as text.
    """

    turns: tuple[Turn, ...] = ()
    text: str = ""
    label: str | None = None
    source: str = ""
    tools: str = ""


@dataclass(frozen=True, slots=True)
class Rendered:
    """An example as text, before it is tokenised.

    Attributes:
        pieces: (text, whether its tokens carry loss); joined, the whole text.
        form: what special tokens are put around the text: none, as a chat template wrote its own (``chat``); those that begin
            and end a text to the model (``running``); or those that the tokenizer itself adds, such as ``[CLS]`` and ``[SEP]``
            (``sequence``).
    """

    pieces: tuple[tuple[str, bool], ...]
    form: Literal["chat", "running", "sequence"] = "chat"


@dataclass(frozen=True, slots=True)
class Encoded:
    """What training sees of one example.

    Attributes:
        input_ids: token ids.
        labels: aligned with ``input_ids`` (unshifted), -100 where no loss is computed.
        text: the rendered text; empty where only a part of it is left.
        label: number of its class; none where tokens are learned.
        closing: how many tokens at its end stay when it is cut to length (an encoder's ``[SEP]``).
    """

    input_ids: list[int]
    labels: list[int]
    text: str = ""
    label: int | None = None
    closing: int = 0
