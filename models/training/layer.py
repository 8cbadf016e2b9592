"""The names of the output layers; apart, because commands need them before torch is imported."""

from enum import StrEnum


class Layer(StrEnum):
    """What computes the probabilities of words.

    ``tree``: two levels by frequency, no short-list. ``differentiated``: bands of words see slices of the
    hidden row; ``differentiated-projected``: projections of it.
    """

    ADAPTIVE = "adaptive"
    FULL = "full"
    TREE = "tree"
    DIFFERENTIATED = "differentiated"
    PROJECTED = "differentiated-projected"
