"""`headfirst quantize MODEL OUT`: a bundle whose LSTM has weights of 8 bits, multiplied as integers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from service.commands.shared.options import Threads
from service.commands.shared.progress import counting
from service.commands.shared.session import UserError, load_bundle, session, show

if TYPE_CHECKING:
    import torch

    from models.bundle import Bundle
    from models.config.quantization import QuantizationCost
    from models.training.corpus import Tokens

LINES: Final = 2000
"""Of a text, at most so many are measured."""


def quantize(
    model: Annotated[Path, typer.Argument(help="The bundle: any with an LSTM.")],
    out: Annotated[Path, typer.Argument(help="The directory of the bundle to write.")],
    text: Annotated[
        list[Path] | None,
        typer.Option(
            help="Text that the model was not trained on, to measure what it costs: a file, or a directory of"
            f" them; the first {LINES:,} lines. Repeats."
        ),
    ] = None,
    tables: Annotated[
        bool, typer.Option("--tables", help="Store the word vectors in 8 bits, too: a smaller file.")
    ] = False,
    threads: Threads = None,
) -> None:
    """Write a bundle whose LSTM is multiplied in 8 bits: faster, and smaller on disk.

    The new weights are the new model: every answer is exact with respect to them, and the same to the bit on
    every processor. With --text, perplexity before and after, and how often both models find the same word
    most probable, are measured and written into the bundle. See docs/quantization.md.
    """
    with session("quantize"):
        from models.bundle import Bundle, BundleError, write_config
        from models.config.quantization import QuantizationConfig
        from models.training.quantization import quantize as quantized

        bundle = load_bundle(model, "cpu", threads)
        if out.resolve() == bundle.path.resolve():
            raise UserError(f"{out}: is the bundle itself; give another directory")
        lines = [] if text is None else _lines(bundle, text)
        try:
            made = quantized(bundle.model, "int8" if tables else "float")
            card_file = bundle.path / "README.md"
            card = card_file.read_text() if card_file.exists() else ""
            Bundle.save(out, made, bundle.vocabulary, card + _note(None), _dtype(bundle), bundle.spelling)
        except (BundleError, ValueError) as error:
            raise UserError(f"{model}: {error}") from None
        written = load_bundle(out, "cpu", threads)
        sizes = [sum(file.stat().st_size for file in one.path.iterdir()) for one in (bundle, written)]
        results = [f"{sizes[0] / 1e6:.2f} MB became {sizes[1] / 1e6:.2f} MB"]
        if text is not None:
            cost = _measured(bundle, written, lines)
            found = QuantizationConfig(tables="int8" if tables else "float", cost=cost)
            write_config(out, written.config.with_quantization(found))
            (out / "README.md").write_text(card + _note(cost))
            results.append(_told(cost))
        show(*results, f"wrote {out}: try headfirst serve --model {out}")


def _lines(bundle: Bundle, paths: list[Path]) -> list[Tokens]:
    from itertools import islice

    import numpy as np

    from models.training.corpus import CorpusError, lines, text_files

    try:
        every = (line for path in paths for file in text_files(path) for line in lines(file))
        texts = list(islice(every, LINES))
    except CorpusError as error:
        raise UserError(str(error)) from None
    if not texts:
        raise UserError(f"{paths[0]}: holds no text")
    end = bundle.vocabulary.end_id
    return [np.array([*ids, end], dtype=np.uint32) for ids in bundle.vocabulary.encode_batch(texts)]


def _measured(bundle: Bundle, written: Bundle, lines: list[Tokens]) -> QuantizationCost:
    from models.training.quantization import quantization_cost

    with counting("measuring", None):
        return quantization_cost(bundle.model, written.model, lines, bundle.vocabulary.end_id)


def _told(cost: QuantizationCost) -> str:
    return (
        f"perplexity {cost.perplexity_before:.3f} became {cost.perplexity:.3f}"
        f" ({cost.perplexity / cost.perplexity_before - 1:+.2%}) on {cost.words:,} words; the most probable"
        f" word is the same after {cost.same_first:.1%} of them"
    )


def _note(cost: QuantizationCost | None) -> str:
    told = "What that costs was not measured." if cost is None else f"{_told(cost).capitalize()}."
    return (
        "\n## In 8 bits\n\n"
        "By `headfirst quantize`: the LSTM's weights, and what they are multiplied with, are integers of 8"
        f" bits with a scale a row. {told} The figures above are those of the model before.\n"
    )


def _dtype(bundle: Bundle) -> torch.dtype:
    import torch

    dtypes = {"float16": torch.float16, "bfloat16": torch.bfloat16}
    return dtypes.get(bundle.dtype, torch.float32)
