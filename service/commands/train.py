"""`headfirst train CORPUS OUT`: text files -> a bundle that `headfirst serve --model OUT` serves."""

from __future__ import annotations

import math
import platform
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

from service.commands.shared.clusters import CutoffsRequest, bands_to
from service.commands.shared.grouped import grouped
from service.commands.shared.progress import Bar, Reports, counting, note_column
from service.commands.shared.session import STOPPED, UserError, session
from service.commands.shared.training import (
    CardOptions,
    OutputOptions,
    RunOptions,
    ScheduleOptions,
    SizeOptions,
    TextOptions,
)

if TYPE_CHECKING:
    from models.config.model import ModelConfig
    from models.training.corpus import Corpus
    from models.training.trainer import Trainer, TrainingOptions


@grouped
def train(
    corpus: Annotated[
        Path, typer.Argument(help="A text file, or a directory of .txt, .txt.xz, .txt.gz files.")
    ],
    out: Annotated[Path, typer.Argument(help="The directory of the bundle to write.")],
    text: TextOptions,
    output: OutputOptions,
    sizes: SizeOptions,
    schedule: ScheduleOptions,
    run: RunOptions,
    card: CardOptions,
) -> None:
    """Train a model on text. Stopped and started again, it goes on where the last checkpoint was."""
    with session("train"):
        import torch

        from models.bundle import BundleError, resolve_device
        from models.training.corpus import CorpusError
        from models.training.memory import keep_memory
        from models.training.trainer import Trainer, TrainingError

        keep_memory()
        work = run.work or out.with_name(out.name + ".work")
        if run.threads:
            torch.set_num_threads(run.threads)
        try:
            notes = card.data_notes.read_text() if card.data_notes else ""
            device = resolve_device(run.device)
            precision = run.precision_on(device.type)
            data = _prepare(corpus, work, text, run)
            request = _cutoffs(output, sizes.hidden_size, schedule.rows * schedule.window, precision)
            edges = request.edges(data.counts, device, work)
            config = _model_config(data, text, output, sizes, edges)
            options = _training_options(schedule, run, output.sampled, sizes.biases, precision)
            trainer = Trainer(config, data, options, work, str(device))
            _begin(trainer, data)
            _run(trainer)
            _save(trainer, data, work, out, notes, card.hardware, run.holdout_every)
        except (CorpusError, TrainingError, BundleError, ValueError) as error:
            raise UserError(str(error)) from None
        except KeyboardInterrupt:
            _say(f"stopped; the same command goes on from the last checkpoint in {work}")
            raise typer.Exit(STOPPED) from None
        _say(f"wrote {out}: try headfirst serve --model {shlex.quote(str(out))}")


def _prepare(corpus: Path, work: Path, text: TextOptions, run: RunOptions) -> Corpus:
    """The corpus as tokens, kept in `work`."""
    from models.training.corpus import CorpusOptions, prepare, text_files

    options = CorpusOptions(text.vocabulary_size, run.holdout_every, run.seed, text.tokenization)
    with counting("tokenizing", None, "characters") as heard:
        return prepare(text_files(corpus), work, options, heard)


def _cutoffs(output: OutputOptions, hidden_size: int, batch: int, precision: str) -> CutoffsRequest:
    return CutoffsRequest(
        output.cutoffs, output.shortlist, output.clusters, output.bands, hidden_size, batch, precision
    )


def _model_config(
    data: Corpus, text: TextOptions, output: OutputOptions, sizes: SizeOptions, edges: tuple[int, ...]
) -> ModelConfig:
    from models.config.bodies import LSTMConfig
    from models.config.model import ModelConfig
    from models.training.output_layers import layer_fields

    bands = bands_to(output.bands, edges)
    layer = layer_fields(output.output_layer, data.counts, sizes.hidden_size, edges, bands, output.clusters)
    tied = layer.pop("tied", sizes.tied)
    return ModelConfig(
        vocabulary_size=text.vocabulary_size,
        hidden_size=sizes.hidden_size,
        **layer,
        tied=tied,
        head_bias=sizes.biases,
        tail_bias=sizes.biases and len(layer["cutoffs"]) > 1,
        embedding_scale=math.sqrt(sizes.hidden_size) if tied else 1.0,
        body=LSTMConfig(
            layers=sizes.layers, units=sizes.units, projection=sizes.projection, residual=sizes.residual
        ),
        format_version=2,
        tokenization=text.tokenization.tokenization(),
    )


def _training_options(
    schedule: ScheduleOptions, run: RunOptions, sampled: int, biases: bool, precision: str
) -> TrainingOptions:
    from models.training.trainer import OPTIMIZERS, TrainingOptions

    if schedule.optimizer not in OPTIMIZERS:
        raise UserError(f"--optimizer must be {' or '.join(OPTIMIZERS)}, got {schedule.optimizer!r}")
    return TrainingOptions(
        **asdict(schedule),
        seed=run.seed,
        precision=precision,
        sampled=sampled,
        from_frequencies=biases,
        validate_every=run.validate_every,
        checkpoint_every=run.checkpoint_every,
    )


def _begin(trainer: Trainer, data: Corpus) -> None:
    """Goes on from the checkpoint, if there is one; says what is trained."""
    if trainer.resume():
        _say(f"resumed at step {trainer.step:,}")
    _say(
        f"{trainer.model.parameter_count():,} parameters, {len(data.train):,} words of text,"
        f" {trainer.model.config.n_clusters} tail clusters, {trainer.options.precision} on {trainer.device}"
    )


def _run(trainer: Trainer) -> None:
    """Trains to the end; shows the loss as it falls."""
    steps, average, reports = trainer.options.steps, math.nan, Reports()
    columns = (BarColumn(), MofNCompleteColumn(), note_column(), TimeRemainingColumn())
    with Bar(*columns, total=steps, done=trainer.step) as bar:
        for done in trainer.run():
            average = done.loss if math.isnan(average) else 0.98 * average + 0.02 * done.loss
            line = (
                f"loss {average:.3f}  perplexity {math.exp(average):.1f}"
                f"  {done.words / done.seconds:,.0f} words/s"
            )
            bar.to(done.step, line)
            reports.tell(f"step {done.step:,} of {steps:,}  {line}")
            if done.validation is not None:
                bar.say(
                    f"step {done.step:,}: held-out perplexity {done.validation.perplexity:.1f},"
                    f" unknown words {done.validation.unknown_rate:.2%}"
                )


def _save(
    trainer: Trainer,
    data: Corpus,
    work: Path,
    out: Path,
    notes: str,
    hardware: str | None,
    holdout_every: int,
) -> None:
    """Writes the bundle, its card and its spelling model included."""
    import torch

    from models.bundle import Bundle
    from models.training.card import TrainingFacts, model_card
    from models.training.evaluation import BitsPerCharacter
    from models.training.spelling import spelling_of_corpus

    options, model = trainer.options, trainer.model.eval()
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, {trainer.device.type}"
    facts = TrainingFacts(
        command=shlex.join(["headfirst", *sys.argv[1:]]),
        words=options.steps * options.rows * options.window,
        corpus_words=len(data.train),
        seconds=trainer.seconds,
        hardware=hardware or machine,
    )
    rule = f"of each file the non-empty line i, from 0, where i mod {holdout_every} is {holdout_every // 2}"
    heldout, (spelling, unknown) = trainer.validate(), spelling_of_corpus(work, data.vocabulary)
    bits = BitsPerCharacter.of(heldout, unknown.characters, unknown.heldout, spelling)
    card = model_card(out.name, model, data.vocabulary, facts, heldout, bits, rule, notes)
    Bundle.save(out, model, data.vocabulary, card, spelling=spelling)


def _say(line: str) -> None:
    typer.echo(line, err=True)
