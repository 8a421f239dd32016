"""Another process that loads results: ``python -m support.reloader`` answers one JSON request a line with logits in a file.

Loading torch and PEFT takes seconds, so one such process serves a whole test session; it never trains anything.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROWS = [[5, 9, 40, 77, 130, 8, 51], [12, 300, 7], [401, 5, 5, 88, 19]]
"""Token ids that every check asks for the logits of, one row at a time."""


def logits_of(model: Any) -> Any:
    """Logits of `ROWS` end to end, float32: (values,)."""
    import torch

    model.eval()
    with torch.no_grad():
        found = [model(input_ids=torch.tensor([row]), attention_mask=torch.ones(1, len(row), dtype=torch.long)).logits for row in ROWS]
    return torch.cat([logits.float().flatten() for logits in found])


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Load a base, put an adapter on and off; logits of base, adapter and base again go to ``out``."""
    import torch
    from finetui.core.worker.engine import Engine
    from safetensors.torch import save_file

    if request.get("quantised"):
        save_file({"on": _on_quantised_base(request)}, request["out"])
        return {}
    engine = Engine(Path(request["model"]), device="cpu", dtype=torch.float32, **request.get("arguments", {}))
    before = None if request.get("adapter") else logits_of(engine.model)
    tensors = {"model": before} if before is not None else {}
    if request.get("adapter"):
        engine.add("a", Path(request["adapter"]))
        tensors["off"] = logits_of(engine.model)
        engine.activate("a")
        tensors["on"] = logits_of(engine.model)
        engine.activate(None)
        tensors["again"] = logits_of(engine.model)
    save_file(tensors, request["out"])
    return {}


def _on_quantised_base(request: dict[str, Any]) -> Any:
    """Logits of an adapter on the base as its method loads it."""
    import torch
    from finetui.core import registry
    from finetui.core.options import parse
    from finetui.core.worker.loading import compute_in, load_base
    from finetui.core.worker.slots import load_complete

    method = registry.load("methods", request["quantised"])
    options = parse(method.options, request.get("options", {}), owner="the test")
    arguments = {**method.load_arguments(options, torch.device("cpu")), **request.get("load_arguments", {})}
    base = load_base(Path(request["model"]), dtype=torch.float32, load_arguments=arguments, task=request["task"], labels=request["labels"])
    compute_in(base, torch.float32)
    return logits_of(load_complete(base, Path(request["adapter"])))


class Reloader:
    """The client's side: starts the process at the first request."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def load(self, out: Path, **request: Any) -> dict[str, Any]:
        """Tensors by name, as `answer` describes."""
        from safetensors.torch import load_file

        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "support.reloader"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                cwd=Path(__file__).parent.parent,
            )  # fmt: skip
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({**request, "out": str(out)}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the other process died"
        reply = json.loads(line)
        assert "error" not in reply, reply["error"]
        return load_file(out)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Answer requests until the other end closes."""
    import os
    import traceback

    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no reply
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except Exception:
            reply = {"error": traceback.format_exc()}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
