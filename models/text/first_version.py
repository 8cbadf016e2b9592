"""Our tokenization, first version: what ``tokenizer.json`` says, done by the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import Encoding, Tokenizer

from models.text import plain_text, spacing
from models.text.alignment import place_dashes
from models.text.tokenizer import UNKNOWN, new_tokenizer, rules
from models.text.words import Word


class FirstVersion:
    """A `models.text.segmentation.Segmenter`, with a faster way to ids alone.

    Args:
        tokenizer: with all words of the vocabulary.
        unknown_id: that of the unknown word.
    """

    def __init__(self, tokenizer: Tokenizer, unknown_id: int) -> None:
        self._tokenizer, self._unknown_id = tokenizer, unknown_id
        self._ids: dict[str, int] = tokenizer.get_vocab(with_added_tokens=False)
        self._ours = rules(tokenizer) == rules(new_tokenizer([UNKNOWN]))

    def words(self, text: str) -> list[Word]:
        """The tokens of `text` in order: what the vocabulary calls them, and where they stand."""
        (encoding,) = self._encode([text])
        forms = self._forms(text) if self._unknown_id in encoding.ids else encoding.tokens
        places = zip(forms, encoding.offsets, strict=True)
        return place_dashes(text, [Word(form, start, end) for form, (start, end) in places])

    def key(self, text: str) -> str:
        """A word, or the beginning of one, as the vocabulary writes it."""
        normalizer = self._tokenizer.normalizer
        return text if normalizer is None else str(normalizer.normalize_str(text)).strip()

    def join(self, words: Iterable[str]) -> str:
        """Tokens as running text that a person would type."""
        return spacing.join(words)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of the tokens of each of `texts`."""
        if not self._ours:
            return [encoding.ids for encoding in self._encode(texts)]
        ids, unknown = self._ids, self._unknown_id
        plain = [plain_text.split(text) for text in texts]
        others = [text for text, words in zip(texts, plain, strict=True) if words is None]
        encodings = iter(self._encode(others) if others else ())
        return [
            next(encodings).ids if words is None else [ids.get(word, unknown) for word in words]
            for words in plain
        ]

    def _encode(self, texts: Sequence[str]) -> list[Encoding]:
        return self._tokenizer.encode_batch(list(texts), add_special_tokens=False)

    def _forms(self, text: str) -> list[str]:
        normalizer, splitting = self._tokenizer.normalizer, self._tokenizer.pre_tokenizer
        plain = text if normalizer is None else normalizer.normalize_str(text)
        return [plain] if splitting is None else [word for word, _ in splitting.pre_tokenize_str(plain)]
