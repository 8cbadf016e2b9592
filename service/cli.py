"""`headfirst`: the command line. One import and one line for each command."""

from typing import Annotated

import typer

import service
from service.commands.bench import bench
from service.commands.cutoffs import cutoffs
from service.commands.import_ import import_
from service.commands.inspect import inspect
from service.commands.predict import predict
from service.commands.quantize import quantize
from service.commands.recluster import recluster
from service.commands.score import score
from service.commands.serve import CONTEXT_SETTINGS, serve
from service.commands.spell import spell
from service.commands.train import train

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("serve", context_settings=CONTEXT_SETTINGS, add_help_option=False)(serve)
app.command("predict")(predict)
app.command("score")(score)
app.command("inspect")(inspect)
app.command("train")(train)
app.add_typer(bench, name="bench")
app.command("cutoffs")(cutoffs)
app.command("recluster")(recluster)
app.command("import")(import_)
app.command("quantize")(quantize)
app.command("spell")(spell)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headfirst {service.__version__}")
        raise typer.Exit


@app.callback()
def headfirst(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Word-level language models with an adaptive softmax: which words come next, how probable is a text?"""


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
