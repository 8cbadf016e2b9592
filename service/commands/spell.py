"""`headfirst spell MODEL --text FILE`: a bundle learns to spell the words that its vocabulary lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.commands.shared.progress import counting
from service.commands.shared.session import UserError, load_bundle, session, show


def spell(
    model: Annotated[Path, typer.Argument(help="The bundle, which is changed.")],
    text: Annotated[
        list[Path], typer.Option(help="Text like that to be scored: a file, or a directory of them. Repeats.")
    ],
    order: Annotated[int, typer.Option(min=1, max=16, help="Characters of the longest n-grams.")] = 6,
    holdout_every: Annotated[
        int, typer.Option(min=2, help="One line of so many is held out, to measure.")
    ] = 20,
) -> None:
    """Give a bundle a spelling model: an unknown word then costs its own spelling, not its class alone.

    Character n-grams are trained on the words of TEXT that the vocabulary lacks, and written into the bundle
    as spelling.safetensors (1 MB at most), in place of an earlier one. See docs/spelling.md.
    """
    with session("spell"):
        from models.bundle import write_spelling
        from models.spelling.spelling_model import SPELLING, SpellingModel
        from models.training.corpus import CorpusError, text_files
        from models.training.spelling import bits_per_character, unknown_words

        bundle = load_bundle(model, "cpu", None)
        try:
            files = [file for path in text for file in text_files(path)]
            with counting("reading", None, "characters") as heard:
                unknown = unknown_words(
                    files, bundle.vocabulary, bundle.config.tokenization, holdout_every, heard
                )
            spelling = SpellingModel.train(unknown.train, bundle.vocabulary, order)
            bits = bits_per_character(spelling, unknown.heldout)
        except (CorpusError, ValueError) as error:
            raise UserError(str(error)) from None
        write_spelling(bundle.path, bundle.config, spelling)
        heldout = (
            f"{bits:.2f} bits a character on {sum(unknown.heldout.values()):,} held-out unknown words"
            if unknown.heldout
            else "no unknown word was held out to measure it on"
        )
        show(
            f"{len(spelling.ngrams):,} n-grams of up to {order} characters from"
            f" {sum(unknown.train.values()):,} unknown words, {len(unknown.train):,} of them distinct;"
            f" {(bundle.path / SPELLING).stat().st_size / 1e6:.2f} MB",
            heldout,
            f"wrote {bundle.path / SPELLING}",
        )
