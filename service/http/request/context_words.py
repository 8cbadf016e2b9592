"""How much of a text a prediction uses."""


def last_words(tokens: list[int], limit: int) -> list[int]:
    """The tokens that a prediction uses: the last `limit` at most, at least half of it if there are so many.

    The start moves in steps of half the limit, so that the text of a typing client keeps its start, and with
    it the cached state of its earlier words, for as many words.
    """
    if len(tokens) <= limit:
        return tokens
    step = limit // 2
    return tokens[-(-(len(tokens) - limit) // step) * step :]
