"""`headfirst predict TEXT`: which words come next, without a server."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.shared.options import Device, Mode, Model, ModeName, Pretokenized, Threads
from service.commands.shared.session import UserError, load_bundle, session, show, standard_output

if TYPE_CHECKING:
    from models.bundle import Bundle
    from models.text.candidates import Candidates
    from service.offline.predictor import PredictedText


def predict(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The text so far; - reads one a line.")],
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="How many words.")] = 10,
    prefix: Annotated[
        str, typer.Option(help="What is typed since the last space; its last word is completed.")
    ] = "",
    ignore_case: Annotated[
        bool, typer.Option("--ignore-case", help="Words may begin with the prefix in another case.")
    ] = False,
    words_only: Annotated[
        bool, typer.Option("--words-only", help="Only words that have a letter or digit: no marks, no </s>.")
    ] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="WORD", help="A word that is not answered; repeatable."),
    ] = None,
    model: Model = None,
    device: Device = "auto",
    threads: Threads = None,
    mode: Mode = ModeName.EXACT,
    pretokenized: Pretokenized = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a text, as /v1/predict answers it.")
    ] = False,
) -> None:
    """Show which words come next, most probable first.

    An empty TEXT is the start of a sentence.
    """
    from models.text.candidates import Candidates

    with session("predict"):
        bundle = load_bundle(model, device, threads)
        try:
            among = Candidates.of(
                bundle.vocabulary, prefix, ignore_case, words_only, exclude or (), pretokenized
            )
        except ValueError as error:
            raise UserError(str(error)) from None
        for texts, results in _predictions(bundle, text, k, among, mode, pretokenized):
            if as_json:
                _print_json(results)
            else:
                _print_tables(bundle, texts, results)


def _predictions(
    bundle: Bundle, text: str, k: int, among: Candidates, mode: ModeName, pretokenized: bool
) -> Iterator[tuple[list[str], list[PredictedText]]]:
    from service.offline.lines import Lines, LinesError
    from service.offline.predictor import Predictor

    try:
        predictor = Predictor(bundle, k, among, mode is ModeName.FAST, pretokenized)
        if text != "-":
            yield [text], predictor.predict([text])
            return
        with Lines.open(text) as lines:
            for window in lines.windows():
                yield window.texts, predictor.predict(window.texts)
    except (LinesError, ValueError) as error:
        raise UserError(str(error)) from None


def _print_json(results: list[PredictedText]) -> None:
    from pydantic_core import to_json

    out = standard_output()
    for result in results:
        out.write(to_json(result.result(), inf_nan_mode="null") + b"\n")
    out.flush()


def _print_tables(bundle: Bundle, texts: list[str], results: list[PredictedText]) -> None:
    import math

    from rich.table import Table
    from rich.text import Text

    from service.contract.numbers import logprob_error

    cutoffs, n_clusters = bundle.config.cutoffs, bundle.config.n_clusters
    for text, result in zip(texts, results, strict=True):
        table = Table(title=Text(text or "(start of a sentence)"), title_justify="left")
        table.add_column("word")
        if result.completions is not None:
            table.add_column("completion")
        table.add_column("probability", justify="right")
        table.add_column("log-probability", justify="right")
        table.add_column("from", style="dim")
        for at, (word_id, word, logprob) in enumerate(
            zip(result.ids, result.words, result.logprobs, strict=True)
        ):
            section = bisect_right(cutoffs, word_id)
            origin = "head" if section == 0 else f"cluster {section - 1}"
            shown = [word] if result.completions is None else [word, result.completions[at]]
            table.add_row(*map(Text, shown), f"{math.exp(logprob):.4f}", f"{logprob:.4f}", origin)
        opened = ", ".join(map(str, result.clusters))
        note = (
            f"words read: {result.context_words} ({result.unknown_words} unknown); clusters opened:"
            f" {len(result.clusters)} of {n_clusters}{f' ({opened})' if opened else ''}"
        )
        for name, error in logprob_error(result.error).items():
            note += f"; {name} {error:.6f}"
        show(table, Text(note, style="dim"))
