"""Try every method on every architecture and write what was found: core/matrix.json and the README's table.

    python scripts/matrix.py [--only METHOD ...] [--workers 2]

With ``--only`` the other methods keep what the file says of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "core" / "matrix.json"
README = ROOT / "README.md"
BEGIN, END = "<!-- matrix: written by scripts/matrix.py -->", "<!-- /matrix -->"

ARCHITECTURES = {
    "qwen2": "Qwen2, Qwen2.5", "qwen3": "Qwen3", "llama": "Llama", "falcon": "Falcon, rw style (ALiBi)",
    "falcon-7b": "Falcon, 7b style (multi-query)", "gpt2": "GPT-2", "bert": "BERT",
}  # fmt: skip


def run_tests(only: list[str], workers: int, folder: Path) -> int:
    """Run the cells; each leaves a file in ``folder``."""
    chosen = ["-k", " or ".join(f"[{name}-" for name in only)] if only else []
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(workers), "-m", "matrix", "tests/matrix", *chosen]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "FINETUI_MATRIX_OUT": str(folder)}).returncode


def gather(folder: Path, methods: dict[str, Any]) -> dict[str, Any]:
    """The table with what was found put in, methods and architectures in a fixed order."""
    for file in sorted(folder.glob("*.json")):
        method, architecture, task, found = json.loads(file.read_text())
        methods.setdefault(method, {}).setdefault(architecture, {})[task] = found
    return {
        method: {name: dict(sorted(methods[method][name].items())) for name in ARCHITECTURES if name in methods[method]}
        for method in sorted(methods, key=lambda name: (":" in name, name))  # families last
    }


def cell(tasks: dict[str, str]) -> str:
    """One cell for people: which tasks work."""
    works = [task for task, found in tasks.items() if found == "works"]
    return {0: "–", 1: works[0] if works else "", 2: "both"}[len(works)]


def markdown(table: dict[str, Any]) -> str:
    """The README's table: ``both`` tasks, one of them, or ``–`` where the method refuses the architecture."""
    lines = ["| | " + " | ".join(ARCHITECTURES.values()) + " |", "|---" * (len(ARCHITECTURES) + 1) + "|"]
    for method, cells in table["methods"].items():
        lines.append(f"| `{method}` | " + " | ".join(cell(cells.get(name, {})) for name in ARCHITECTURES) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run, write, and fail where a cell failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--readme-only", action="store_true", help="write the README's table from the file as it is")
    arguments = parser.parse_args()
    before = json.loads(TARGET.read_text()) if TARGET.exists() else {"methods": {}}
    table, code = before, 0
    if not arguments.readme_only:
        with tempfile.TemporaryDirectory() as scratch:
            code = run_tests(arguments.only, arguments.workers, Path(scratch))
            methods = gather(Path(scratch), before["methods"] if arguments.only else {})
        versions = {name: version(name) for name in ("torch", "transformers", "peft")}
        table = {"architectures": ARCHITECTURES, "methods": methods, "versions": versions}
        TARGET.write_text(json.dumps(table, indent=1) + "\n")
    text = README.read_text()
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    README.write_text(f"{text[:start]}\n{markdown(table)}\n{text[end:]}")
    sys.exit(code)


if __name__ == "__main__":
    main()
