"""Which words of a text are accidents of typing, and so never words of a vocabulary.

They are told by their form and by counts, for our own tokenization, second version:

* A full stop within a word may be the end of a sentence whose space is missing: ``left.she``. The word is
  taken if what follows its last full stop is seen more often there than as a word of its own: ``js`` and
  ``com`` are, ``she`` is not. Abbreviations of single letters (``U.S.``) and numbers are not asked.
* Identifiers: letters and digits in turns, four changes or more (``7f3a9c``); eight digits or more in a row;
  more than 40 characters.
* Characters that stand for none: the replacement character, private and unassigned ones; combining marks
  without a letter.

Two other kinds never reach a vocabulary, since they are no tokens: two sentences joined by a full stop and a
capital letter (``left.She`` is three words), and invisible characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Final

LONGEST: Final = 40

# A name with full stops: the last of them between letters.
_DOTTED: Final = re.compile(r"(?:.*[^\W_])?\.([^\W\d_][^\W_]+)", re.DOTALL)
_CHANGE: Final = re.compile(r"[^\W\d_](?=\d)|\d(?=[^\W\d_])")
_DIGITS: Final = re.compile(r"\d{8}")


def accidents(counts: Mapping[str, int]) -> set[str]:
    """Those among the words that are counted in a text."""
    endings: Counter[str] = Counter()
    dotted: dict[str, str] = {}
    for word, count in counts.items():
        if "." in word and (found := _DOTTED.fullmatch(word)):
            dotted[word] = found[1]
            endings[found[1]] += count
    missing_spaces = {word for word, ending in dotted.items() if endings[ending] <= counts.get(ending, 0)}
    return missing_spaces | set(filter(_is_malformed, counts))


def _is_malformed(word: str) -> bool:
    if len(word) > LONGEST or _DIGITS.search(word) or len(_CHANGE.findall(word)) > 3:
        return True
    if word.isascii():
        return False
    categories = [unicodedata.category(char) for char in word]
    if "\ufffd" in word or "\ufffc" in word or {"Co", "Cn", "Cs"} & set(categories):
        return True
    return "M" in {kind[0] for kind in categories} and not {"L", "N"} & {kind[0] for kind in categories}
