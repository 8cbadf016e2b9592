"""Whether two servers answer alike."""

from __future__ import annotations

from typing import Any

TOLERANCE = 1e-4


def same_words(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """The same words but for the order of those equally probable to the tolerance, and the same counts."""
    if any(ours[key] != theirs[key] for key in ("context_words", "unknown_words")):
        return False
    probable = {word["word"]: word["logprob"] for word in theirs["words"]}
    if len(probable) != len(ours["words"]):
        return False
    last = ours["words"][-1]["logprob"]
    return all(abs(probable.get(word["word"], last) - word["logprob"]) <= TOLERANCE for word in ours["words"])
