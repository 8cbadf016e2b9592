"""The options of `headfirst score`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from service.commands.shared.options import Mode, ModeName, Pretokenized

if TYPE_CHECKING:
    from service.scoring.scored_text import Group
    from service.scoring.unknown_words import Unknown

DATA_SET: Final = "A data set"


class RowFormat(StrEnum):
    """How results are written."""

    JSONL = "jsonl"
    TSV = "tsv"
    CSV = "csv"


class GroupName(StrEnum):
    """What has a row of its own; see `service.scoring.scored_text`."""

    TOKEN = "token"  # noqa: S105 -- a word
    SPACE = "space"


class UnknownName(StrEnum):
    """What unknown words cost; see `service.scoring.unknown_words`."""

    SPELLED = "spelled"
    CLASS = "class"


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """What is scored of each text, and how it is written."""

    mode: Mode = ModeName.EXACT
    pretokenized: Pretokenized = False
    context: Annotated[str, typer.Option(help="Text that each line follows; read, not scored.")] = ""
    output_format: Annotated[RowFormat, typer.Option("--format", help="JSON lines, TSV or CSV.")] = (
        RowFormat.JSONL
    )
    per_word: Annotated[
        bool | None,
        typer.Option(show_default="yes for FILE, no for --input", help="List the words of each line."),
    ] = None
    group: Annotated[GroupName, typer.Option(help="List tokens, or words between white space.")] = (
        GroupName.TOKEN
    )
    lines: Annotated[
        bool, typer.Option("--lines", help="Each line within a text is a sentence of its own.")
    ] = False
    unknown: Annotated[
        UnknownName | None,
        typer.Option(
            show_default="spelled, where the model can",
            help="What an unknown word costs: its spelling, or its class.",
        ),
    ] = None
    unknown_penalty: Annotated[
        float | None,
        typer.Option(min=0, show_default="0", help="Nats that are subtracted from the class of each."),
    ] = None
    ignore_case: Annotated[
        bool,
        typer.Option(
            "--ignore-case", help="A word has the probability of its case variants together, as for capitals."
        ),
    ] = False
    end_of_sentence: Annotated[bool, typer.Option(help="Score the end of sentence after each line.")] = True
    output: Annotated[
        Path | None, typer.Option(show_default="standard output", help="Where to write the results.")
    ] = None
    batch_tokens: Annotated[
        int, typer.Option(min=1, help="Words computed side by side: speed against memory.")
    ] = 4096
    max_line_bytes: Annotated[int, typer.Option(min=1, help="A longer line is an error.")] = 1 << 20

    @property
    def group_name(self) -> Group:
        """`group` as `ScoredText.entries` takes it."""
        return "space" if self.group is GroupName.SPACE else "token"

    @property
    def unknown_name(self) -> Unknown | None:
        """`unknown` as `UnknownWords.of` takes it."""
        if self.unknown is None:
            return None
        return "spelled" if self.unknown is UnknownName.SPELLED else "class"

    @property
    def fast(self) -> bool:
        """Whether the fast mode may answer."""
        return self.mode is ModeName.FAST


@dataclass(frozen=True, slots=True)
class DataSetOptions:
    """Rows to be scored in place of the lines of a file."""

    data: Annotated[
        Path | None,
        typer.Option(
            "--input",
            rich_help_panel=DATA_SET,
            help="Instead of FILE: rows as .jsonl or .parquet, to be scored into --output.",
        ),
    ] = None
    text_column: Annotated[
        str, typer.Option(rich_help_panel=DATA_SET, help="Column or field that holds the text.")
    ] = "text"
    prefix: Annotated[
        str, typer.Option(rich_help_panel=DATA_SET, help="Stands before the names of the added columns.")
    ] = ""
    part_rows: Annotated[
        int, typer.Option(min=1, rich_help_panel=DATA_SET, help="Rows that are kept at a time.")
    ] = 10_000
    restart: Annotated[
        bool, typer.Option("--restart", rich_help_panel=DATA_SET, help="Throw away what is done already.")
    ] = False
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=DATA_SET, help="Replace an output that is there.")
    ] = False
