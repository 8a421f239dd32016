"""One question, one answer, in two columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.api import DataError, DataFormat, Example, Turn
from .fields import SYSTEM, answered, first_present, text_of, with_system

_PROMPTS = ("prompt", "question", "query", "input")
_RESPONSES = ("response", "completion", "answer", "output", "chosen")


class PromptResponse(DataFormat):
    """A prompt (or question, query, input) and a response (or completion, answer, output, chosen); ``system`` may be there too."""

    name = "prompt_response"
    title = "Prompt and response"
    summary = "Rows with a prompt (question, query) and a response (completion, answer)."
    columns = (*_PROMPTS, *_RESPONSES, *SYSTEM)
    priority = -5

    def matches(self, row: Mapping[str, Any]) -> bool:
        prompt, response = first_present(row, _PROMPTS), first_present(row, _RESPONSES)
        return bool(prompt and response) and not isinstance(row[prompt], list) and not isinstance(row[response], (list, dict))

    def read(self, row: Mapping[str, Any], source: str) -> Example:
        """Two turns, after the system message if there is one."""
        prompt, response = first_present(row, _PROMPTS) or "prompt", first_present(row, _RESPONSES) or "response"
        question = text_of(row.get(prompt), f"column '{prompt}'", source)
        answer = text_of(row.get(response), f"column '{response}'", source)
        if not question.strip():
            raise DataError(f"{source}: column '{prompt}' is empty", "remove the row; running text belongs into a 'text' column")
        turns = with_system(row, [Turn("user", question), Turn("assistant", answer)], source)
        return Example(turns=answered(turns, source), source=source)
