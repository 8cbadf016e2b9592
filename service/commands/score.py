"""`headfirst score`: how probable is each line of a FILE, or each row of a data set, without a server."""

from __future__ import annotations

from typing import Annotated

import typer

from service.commands.shared.dataset import score_data_set
from service.commands.shared.grouped import grouped
from service.commands.shared.lines import score_lines
from service.commands.shared.options import Place
from service.commands.shared.scoring import DataSetOptions, RowFormat, ScoringOptions
from service.commands.shared.session import UserError, session


@grouped
def score(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            show_default=False,
            help="UTF-8 text, one sentence a line, plain, .gz or .xz; - is standard input.",
        ),
    ] = None,
    *,
    place: Place,
    options: ScoringOptions,
    data_set: DataSetOptions,
) -> None:
    """Score a text line by line: log-probability, perplexity, each word's share.

    JSON lines: one object a line, as /v1/score answers it.

    TSV, with a header: by default a row a word (line, position, word, logprob,
    surprisal in bits, known); with --no-per-word a row a line (line, logprob,
    perplexity, word_count, unknown_words). Fields are not quoted: in R
    read.delim(quote="", na.strings=character()), in pandas
    read_csv(sep="\\t", quoting=csv.QUOTE_NONE, keep_default_na=False).
    CSV has the same rows, with quotes where they are needed.

    Logarithms are natural. With --mode fast each JSON object has
    logprob_error, the most by which a word's may be off; the last line on
    standard error tells the largest. Results come in the order of the lines,
    one for each; a line without a word has word_count 0 and no perplexity.
    Files of any size are read in bounded memory.

    With --input each row of a data set gets the columns logprob, perplexity,
    word_count and unknown_words (with --per-word also words); its others are
    kept. A row without a text gets nulls, and is counted. A part is kept when
    it is done, in a folder beside the output: after a kill the same command
    goes on where it was. Parquet needs the extra headfirst[parquet].
    """
    with session("score"):
        if data_set.data is not None:
            if file is not None or options.output_format is not RowFormat.JSONL:
                raise UserError(f"--input goes without {'--format' if file is None else 'FILE'}")
            score_data_set(data_set.data, place, options, data_set)
        elif file is None:
            raise UserError("give a FILE, or a data set as --input")
        else:
            score_lines(file, place, options)
