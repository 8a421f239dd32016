"""``finetui demo`` for real: two adapters that answer the same unseen prompt differently, each as it was trained."""

from __future__ import annotations

import json

from support.cli import finetui


def is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def sounds_like_a_pirate(text: str) -> bool:
    lowered = text.lower()
    return any(word in lowered for word in ("arr", "matey", "ahoy", "ye ", "aye"))


def test_demo_end_to_end() -> None:
    done = finetui("demo", "--json", timeout=290)
    assert done.code == 0, done.err + done.out
    report = done.json
    pirate, structured = (report["adapters"][style]["name"] for style in ("pirate", "json"))
    prompts = list(dict.fromkeys(row["prompt"] for row in report["answers"]))
    as_trained = 0
    for prompt in prompts:
        said = {row["name"]: row["text"] for row in report["answers"] if row["prompt"] == prompt}
        base = said["finetui-mini"]
        assert not is_json_object(base) and not sounds_like_a_pirate(base), said
        assert len(set(said.values())) == 3, said
        as_trained += sounds_like_a_pirate(said[pirate]) and is_json_object(said[structured])
    assert as_trained >= len(prompts) - 1, report["answers"]
    assert report["pull"]["identical"] is True
    assert report["merge"]["verified"]
    assert "finetui chat" not in done.out  # --json: one document, no words for people
