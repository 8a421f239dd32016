"""Text generation on an `Engine`: prompts rendered as the model was taught, text streamed as it becomes readable."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from ..api import Rendered, Turn
from ..errors import UsageError
from ..inference import Generation
from ..sampling import Sampling
from .engine import Chosen, Engine
from .rendering import ChatRenderer

_REPLACEMENT = "\ufffd"


GREEDY = Sampling()


def prompt_ids(tokenizer: Any, raw: str | None, turns: Sequence[Turn]) -> list[int]:
    """The tokens to continue: ``raw`` as it is, or ``turns`` rendered up to where the assistant's answer starts."""
    if raw is not None:
        return tokenizer(raw)["input_ids"]
    return ChatRenderer(tokenizer).generation_prompt(turns)


def end_tokens(tokenizer: Any, model: Any) -> list[int]:
    """Token ids that end an answer: the tokenizer's and the model's end tokens, and the chat template's end of turn."""
    ends = {tokenizer.eos_token_id}
    for source in (model.config, model.generation_config):
        value = getattr(source, "eos_token_id", None)
        ends.update(value if isinstance(value, (list, tuple)) else [value])
    renderer = ChatRenderer(tokenizer)
    (encoded,) = renderer.encode([Rendered(tuple(renderer.conversation([Turn("user", "a"), Turn("assistant", "b")])))])
    special = set(tokenizer.all_special_ids) | {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    ends.update(label for label in encoded.labels if label in special)
    return sorted(ends - {None, tokenizer.bos_token_id if tokenizer.bos_token_id != tokenizer.eos_token_id else None})


def generate(
    engine: Engine,
    ids: Sequence[int],
    adapter: Chosen = None,
    sampling: Sampling = GREEDY,
    *,
    on_text: Callable[[str], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Generation:
    """Continue ``ids`` with ``adapter``, or a blend of several, active (none: the base).

    Args:
        on_text: called with each piece of text as soon as it is readable; together they are the answer's text.
        stop: asked before every token whether to end now.

    Raises:
        NotFound, Incompatible: as `Engine.activate`.
        UsageError: the prompt is empty, or leaves no room in the model's context.
    """
    swap_seconds = engine.activate(adapter)
    started = time.perf_counter()
    room = _room(engine, len(ids))
    ends = end_tokens(engine.tokenizer, engine.base)
    stream = _TextStream(engine.tokenizer, ends, on_text or (lambda text: None))
    halt = _Halt(stop)
    prompt = torch.tensor([list(ids)], device=engine.device)
    torch.manual_seed(sampling.seed)
    with torch.no_grad():  # not inference_mode: see `Engine._keep_head_fast`
        engine.model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            generation_config=_generation_config(sampling, min(sampling.max_new_tokens, room), ends),
            streamer=stream,
            stopping_criteria=StoppingCriteriaList([halt]),
        )
    ended = bool(stream.ids) and stream.ids[-1] in ends
    return Generation(
        text=stream.text,
        tokens=len(stream.ids),
        prompt_tokens=len(ids),
        seconds=time.perf_counter() - started,
        first_token_seconds=(stream.first or time.perf_counter()) - started,
        swap_seconds=swap_seconds,
        finish="end" if ended else "cancelled" if halt.cancelled else "length",
    )


def _room(engine: Engine, prompt_tokens: int) -> int:
    """How many tokens the context has left."""
    if prompt_tokens == 0:
        raise UsageError("the prompt is empty", "give it some text")
    context = getattr(engine.base.config, "max_position_embeddings", None)
    if context is None:
        return 1 << 30
    room = int(context) - prompt_tokens - engine.virtual_tokens
    if room < 1:
        raise UsageError(f"the prompt has {prompt_tokens} tokens, the model's context {context}", "shorten it, or start a new conversation")
    return room


def _generation_config(sampling: Sampling, max_new_tokens: int, ends: list[int]) -> GenerationConfig:
    chosen: dict[str, Any] = {"do_sample": False}
    if sampling.temperature > 0:
        chosen = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
    if sampling.repetition_penalty is not None:
        chosen["repetition_penalty"] = sampling.repetition_penalty
    return GenerationConfig(max_new_tokens=max_new_tokens, eos_token_id=ends, pad_token_id=ends[0] if ends else None, num_beams=1, **chosen)


class _Halt(StoppingCriteria):
    """Ends a generation when its request was cancelled."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop
        self.cancelled = False

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs: Any) -> torch.BoolTensor:
        self.cancelled = self.cancelled or self._stop()
        return torch.full((input_ids.shape[0],), self.cancelled, dtype=torch.bool, device=input_ids.device)  # type: ignore[return-value]


class _TextStream(BaseStreamer):
    """Turns tokens into text as they come, holding back bytes that are not a whole character yet."""

    def __init__(self, tokenizer: Any, ends: list[int], on_text: Callable[[str], None]) -> None:
        self._tokenizer = tokenizer
        self._ends = ends
        self._on_text = on_text
        self._prompt_seen = False
        self._shown_from = 0  # decoding restarts here, one piece back: a tokenizer may treat a first token differently
        self._shown_to = 0
        self.ids: list[int] = []
        self.text = ""
        self.first: float | None = None

    def put(self, value: torch.Tensor) -> None:
        """Called by ``generate``: first with the prompt, then with every token."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        self.first = self.first or time.perf_counter()
        self.ids += value.reshape(-1).tolist()
        self._show(last=False)

    def end(self) -> None:
        """Called by ``generate`` after the last token."""
        self._show(last=True)

    def _show(self, *, last: bool) -> None:
        shown = self._decode(self.ids[self._shown_from : self._shown_to])
        text = self._decode(self.ids[self._shown_from :])
        if len(text) > len(shown) and (last or not text.endswith(_REPLACEMENT)):
            self._shown_from, self._shown_to = self._shown_to, len(self.ids)
            piece = text[len(shown) :]
            self.text += piece
            self._on_text(piece)

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
