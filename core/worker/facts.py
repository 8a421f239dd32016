"""The other side of `core.facts`: ``python -m finetui.core.worker.facts package.module:function``, arguments on stdin."""

from __future__ import annotations

import os
import sys

import msgspec

from ..facts import call
from ..runs.failure import describe_error


def main() -> None:
    """Call the function; ``{"answer": …}`` or ``{"error": …}`` on stdout, whatever libraries print on stderr."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        reply = {"answer": call(sys.argv[1], msgspec.json.decode(sys.stdin.buffer.read()))}
    except Exception as problem:
        reply = {"error": describe_error(problem).to_dict()}
    out.write(msgspec.json.encode(reply))
    out.flush()


if __name__ == "__main__":
    main()
