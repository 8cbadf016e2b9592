"""The options of `headfirst train`, those that belong together in one class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from models.config.tokenization import Kind
from models.training.layer import Layer
from service.commands.shared.session import UserError


@dataclass(frozen=True, slots=True)
class TextOptions:
    """How text becomes words."""

    vocabulary_size: Annotated[int, typer.Option(min=3, help="Words, with <unk> and </s>.")] = 102_400
    tokenization: Annotated[
        Kind, typer.Option(help="How text becomes words; jieba is for Chinese, see docs/chinese.md.")
    ] = Kind.OURS


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """The output layer."""

    shortlist: Annotated[int, typer.Option(min=1, help="Words of the head.")] = 2000
    clusters: Annotated[
        int | None,
        typer.Option(
            min=0, show_default="64; with --cutoffs auto the fastest", help="Tail clusters; 0: plain softmax."
        ),
    ] = None
    cutoffs: Annotated[
        str,
        typer.Option(
            help="Cluster edges: geometric (from --shortlist), auto (fastest on this device, --shortlist at"
            " least), or the edges themselves, N,N,...,vocabulary size."
        ),
    ] = "geometric"
    bands: Annotated[str, typer.Option(help="Tail widths, each up to a word rank: WIDTH:RANK,...,WIDTH.")] = (
        "128:16500,32"
    )
    output_layer: Annotated[
        Layer,
        typer.Option(
            help="adaptive, or to compare: full; tree (of --clusters leaves, no short-list); differentiated"
            " (bands see slices of the hidden row) or differentiated-projected, both never tied."
        ),
    ] = Layer.ADAPTIVE
    sampled: Annotated[
        int, typer.Option(min=0, help="With --output-layer full: words drawn a step in place of all.")
    ] = 0


@dataclass(frozen=True, slots=True)
class SizeOptions:
    """The body and the word vectors."""

    hidden_size: Annotated[int, typer.Option(min=1)] = 256
    layers: Annotated[int, typer.Option(min=1, help="LSTM layers.")] = 1
    units: Annotated[int, typer.Option(min=1, help="LSTM units a layer.")] = 1024
    projection: Annotated[int, typer.Option(min=0, help="LSTM projection; 0 is none.")] = 256
    residual: Annotated[bool, typer.Option(help="Residual connections between layers.")] = False
    tied: Annotated[bool, typer.Option(help="Tie input and output word vectors.")] = True
    biases: Annotated[
        bool, typer.Option(help="Give each word a bias, at first the logarithm of its frequency.")
    ] = False


@dataclass(frozen=True, slots=True)
class ScheduleOptions:
    """The optimizer's steps; fields as in `models.training.trainer.TrainingOptions`."""

    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = 12_000
    rows: Annotated[int, typer.Option(min=1, help="Texts side by side in a step.")] = 64
    window: Annotated[int, typer.Option(min=1, help="Words of each text in a step.")] = 48
    optimizer: Annotated[
        str, typer.Option(help="adam, or adagrad with a --learning-rate near 0.1: see docs/clusters.md.")
    ] = "adam"
    learning_rate: Annotated[float, typer.Option(min=0.0)] = 3e-3
    warmup: Annotated[int, typer.Option(min=0, help="Steps until the learning rate is reached.")] = 400
    cooldown: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the steps that it falls.")] = 0.3
    dropout: Annotated[float, typer.Option(min=0.0, max=0.99)] = 0.0


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Where and how the run is carried out, measured and kept."""

    holdout_every: Annotated[int, typer.Option(min=2, help="One line of so many is held out.")] = 500
    precision: Annotated[
        str, typer.Option(help="float32, bfloat16, or auto: bfloat16 on a GPU, float32 on a CPU.")
    ] = "auto"
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto"
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores by default.")] = None
    seed: Annotated[int, typer.Option()] = 1
    validate_every: Annotated[int, typer.Option(min=1, help="Steps.")] = 2000
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps.")] = 500
    work: Annotated[
        Path | None, typer.Option(help="Tokens and checkpoints; OUT with .work added by default.")
    ] = None

    def precision_on(self, device_type: str) -> str:
        """``float32`` or ``bfloat16``. Raises UserError for any other."""
        if self.precision == "auto":
            return "bfloat16" if device_type == "cuda" else "float32"
        if self.precision not in ("float32", "bfloat16"):
            raise UserError(f"--precision must be auto, float32 or bfloat16, got {self.precision!r}")
        return self.precision


@dataclass(frozen=True, slots=True)
class CardOptions:
    """Facts for the model card that the run itself cannot know."""

    data_notes: Annotated[
        Path | None, typer.Option(help="Markdown on the data and their licenses, for the model card.")
    ] = None
    hardware: Annotated[str | None, typer.Option(help="What the model card calls this machine.")] = None
