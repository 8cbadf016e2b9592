"""`headfirst train CORPUS OUT`: text files -> a bundle that `headfirst serve --model OUT` serves."""

from __future__ import annotations

import math
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.config.tokenization import Kind
from models.training.layer import Layer
from service.commands.shared.clusters import CutoffsRequest, bands_to

if TYPE_CHECKING:
    from models.training.corpus import Corpus, CorpusOptions
    from models.training.trainer import Trainer, TrainingOptions

LOG_SECONDS = 30.0


def train(
    corpus: Annotated[
        Path, typer.Argument(help="A text file, or a directory of .txt, .txt.xz, .txt.gz files.")
    ],
    out: Annotated[Path, typer.Argument(help="The directory of the bundle to write.")],
    vocabulary_size: Annotated[int, typer.Option(min=3, help="Words, with <unk> and </s>.")] = 102_400,
    tokenization: Annotated[
        Kind, typer.Option(help="How text becomes words; jieba is for Chinese, see docs/chinese.md.")
    ] = Kind.OURS,
    shortlist: Annotated[int, typer.Option(min=1, help="Words of the head.")] = 2000,
    clusters: Annotated[
        int | None,
        typer.Option(
            min=0, show_default="64; with --cutoffs auto the fastest", help="Tail clusters; 0: plain softmax."
        ),
    ] = None,
    cutoffs: Annotated[
        str,
        typer.Option(
            help="Cluster edges: geometric (from --shortlist), auto (fastest on this device, --shortlist at"
            " least), or the edges themselves, N,N,...,vocabulary size."
        ),
    ] = "geometric",
    bands: Annotated[
        str, typer.Option(help="Tail widths, each up to a word rank: WIDTH:RANK,...,WIDTH.")
    ] = "128:16500,32",
    output_layer: Annotated[
        Layer,
        typer.Option(
            help="adaptive, or to compare: full; tree (of --clusters leaves, no short-list); differentiated"
            " (bands see slices of the hidden row) or differentiated-projected, both never tied."
        ),
    ] = Layer.ADAPTIVE,
    sampled: Annotated[
        int, typer.Option(min=0, help="With --output-layer full: words drawn a step in place of all.")
    ] = 0,
    hidden_size: Annotated[int, typer.Option(min=1)] = 256,
    layers: Annotated[int, typer.Option(min=1, help="LSTM layers.")] = 1,
    units: Annotated[int, typer.Option(min=1, help="LSTM units a layer.")] = 1024,
    projection: Annotated[int, typer.Option(min=0, help="LSTM projection; 0 is none.")] = 256,
    residual: Annotated[bool, typer.Option(help="Residual connections between layers.")] = False,
    tied: Annotated[bool, typer.Option(help="Tie input and output word vectors.")] = True,
    biases: Annotated[
        bool, typer.Option(help="Give each word a bias, at first the logarithm of its frequency.")
    ] = False,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = 12_000,
    rows: Annotated[int, typer.Option(min=1, help="Texts side by side in a step.")] = 64,
    window: Annotated[int, typer.Option(min=1, help="Words of each text in a step.")] = 48,
    optimizer: Annotated[
        str, typer.Option(help="adam, or adagrad with a --learning-rate near 0.1: see docs/clusters.md.")
    ] = "adam",
    learning_rate: Annotated[float, typer.Option(min=0.0)] = 3e-3,
    warmup: Annotated[int, typer.Option(min=0, help="Steps until the learning rate is reached.")] = 400,
    cooldown: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the steps that it falls.")
    ] = 0.3,
    dropout: Annotated[float, typer.Option(min=0.0, max=0.99)] = 0.0,
    holdout_every: Annotated[int, typer.Option(min=2, help="One line of so many is held out.")] = 500,
    precision: Annotated[
        str, typer.Option(help="float32, bfloat16, or auto: bfloat16 on a GPU, float32 on a CPU.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores by default.")] = None,
    seed: Annotated[int, typer.Option()] = 1,
    validate_every: Annotated[int, typer.Option(min=1, help="Steps.")] = 2000,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps.")] = 500,
    work: Annotated[
        Path | None, typer.Option(help="Tokens and checkpoints; OUT with .work added by default.")
    ] = None,
    data_notes: Annotated[
        Path | None, typer.Option(help="Markdown on the data and their licenses, for the model card.")
    ] = None,
    hardware: Annotated[str | None, typer.Option(help="What the model card calls this machine.")] = None,
) -> None:
    """Train a model on text. Stopped and started again, it goes on where the last checkpoint was."""
    import torch

    from models.bundle import Bundle, BundleError, resolve_device
    from models.config.bodies import LSTMConfig
    from models.config.model import ModelConfig
    from models.training.card import TrainingFacts, model_card
    from models.training.corpus import CorpusError, CorpusOptions
    from models.training.evaluation import BitsPerCharacter
    from models.training.memory import keep_memory
    from models.training.output_layers import layer_fields
    from models.training.spelling import spelling_of_corpus
    from models.training.trainer import Trainer, TrainingError, TrainingOptions

    keep_memory()
    console = Console(stderr=True)
    work = work or out.with_name(out.name + ".work")
    if threads:
        torch.set_num_threads(threads)
    try:
        notes = data_notes.read_text() if data_notes else ""
        target = resolve_device(device)
        data = _prepare(
            corpus, work, CorpusOptions(vocabulary_size, holdout_every, seed, tokenization), console
        )
        request = CutoffsRequest(
            cutoffs,
            shortlist,
            clusters,
            bands,
            hidden_size,
            rows * window,
            _precision(precision, target.type),
        )
        edges = request.edges(data.counts, target, work)
        fields = layer_fields(output_layer, data.counts, hidden_size, edges, bands_to(bands, edges), clusters)
        tied = fields.pop("tied", tied)
        config = ModelConfig(
            vocabulary_size=vocabulary_size,
            hidden_size=hidden_size,
            **fields,
            tied=tied,
            head_bias=biases,
            tail_bias=biases and len(fields["cutoffs"]) > 1,
            embedding_scale=math.sqrt(hidden_size) if tied else 1.0,
            body=LSTMConfig(layers=layers, units=units, projection=projection, residual=residual),
            tokenization=tokenization.tokenization(),
        )
        options = TrainingOptions(
            steps=steps,
            rows=rows,
            window=window,
            learning_rate=learning_rate,
            warmup=warmup,
            cooldown=cooldown,
            dropout=dropout,
            seed=seed,
            precision=_precision(precision, target.type),
            optimizer=_optimizer(optimizer),
            from_frequencies=biases,
            validate_every=validate_every,
            checkpoint_every=checkpoint_every,
            sampled=sampled,
        )
        trainer = Trainer(config, data, options, work, str(target))
        if trainer.resume():
            console.print(f"resumed at step {trainer.step:,}")
        console.print(
            f"{trainer.model.parameter_count():,} parameters, {len(data.train):,} words of text,"
            f" {config.n_clusters} tail clusters, {options.precision} on {target}"
        )
        _run(trainer, options, console)
        model = trainer.model.eval()
        facts = TrainingFacts(
            command=shlex.join(["headfirst", *sys.argv[1:]]),
            words=steps * rows * window,
            corpus_words=len(data.train),
            seconds=trainer.seconds,
            hardware=hardware or f"{platform.machine()}, {torch.get_num_threads()} threads, {target.type}",
        )
        rule = (
            f"of each file the non-empty line i, from 0, where i mod {holdout_every} is {holdout_every // 2}"
        )
        spelling, unknown = spelling_of_corpus(work, data.vocabulary)
        heldout = trainer.validate()
        bits = BitsPerCharacter.of(heldout, unknown.characters, unknown.heldout, spelling)
        card = model_card(out.name, model, data.vocabulary, facts, heldout, bits, rule, notes)
        Bundle.save(out, model, data.vocabulary, card, spelling=spelling)
    except (CorpusError, TrainingError, BundleError, ValueError, OSError) as error:
        console.print(f"headfirst train: {' '.join(str(error).split())}", style="red", markup=False)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        console.print(f"stopped; the same command goes on from the last checkpoint in {work}")
        raise typer.Exit(130) from None
    console.print(f"wrote {out}: try headfirst serve --model {shlex.quote(str(out))}")


def _precision(name: str, device_type: str) -> str:
    if name == "auto":
        return "bfloat16" if device_type == "cuda" else "float32"
    if name not in ("float32", "bfloat16"):
        raise ValueError(f"--precision must be auto, float32 or bfloat16, got {name!r}")
    return name


def _optimizer(name: str) -> str:
    from models.training.trainer import OPTIMIZERS

    if name not in OPTIMIZERS:
        raise ValueError(f"--optimizer must be {' or '.join(OPTIMIZERS)}, got {name!r}")
    return name


def _prepare(corpus: Path, work: Path, options: CorpusOptions, console: Console) -> Corpus:
    from models.training.corpus import prepare, text_files

    with Progress(
        TextColumn("tokenizing"), TextColumn("{task.completed:,} characters"), console=console
    ) as bar:
        task = bar.add_task("", total=None)
        return prepare(text_files(corpus), work, options, lambda n: bar.advance(task, n))


def _run(trainer: Trainer, options: TrainingOptions, console: Console) -> None:
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    )
    average, logged = math.nan, time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=options.steps, completed=trainer.step)
        for done in trainer.run():
            average = done.loss if math.isnan(average) else 0.98 * average + 0.02 * done.loss
            line = (
                f"loss {average:.3f}  perplexity {math.exp(average):.1f}"
                f"  {done.words / done.seconds:,.0f} words/s"
            )
            bar.update(task, completed=done.step, description=line)
            if not console.is_terminal and time.monotonic() - logged > LOG_SECONDS:
                logged = time.monotonic()
                console.print(f"step {done.step:,} of {options.steps:,}  {line}")
            if done.validation is not None:
                console.print(
                    f"step {done.step:,}: held-out perplexity {done.validation.perplexity:.1f},"
                    f" unknown words {done.validation.unknown_rate:.2%}"
                )
