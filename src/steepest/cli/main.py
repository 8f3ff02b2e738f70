"""The command ``steepest``: its verbs, ``--version``, ``--debug`` and the help it shows when it stands alone."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated

import typer

from steepest.cli.console import guarded, settings, warn, writable

EPILOG = """[bold]Examples[/bold]

steepest list rules ; steepest list rules low memory ; steepest show adamw

steepest compare digits-cnn -s cnn -s "adamw(lr=3e-3) | warmup_cosine(warmup=0.05) | clip_norm(1)"

steepest compare my_module:my_task -s cnn -s "adam(lr=1e-3)" --seeds 5 --out runs/mine

steepest tune digits-cnn -s adamw -s "sgd(lr=log(1e-3, 1), momentum=0.9) | cosine" --budget 10m

steepest recommend digits-cnn --budget 5m

steepest federate digits-mlp --method fedavg --method scaffold --clients 100 --sample 10

steepest train digits-cnn -s cnn --out runs/one ; steepest train --resume runs/one

steepest lr-find digits-mlp -s "adamw" ; steepest landscape rosenbrock -s "adam(lr=0.1)" -s "sgd(lr=1e-3)"

steepest plot-schedule "warmup_cosine(warmup=0.05)" "one_cycle" --steps 1000 --out schedules.html
"""

app = typer.Typer(
    name="steepest",
    help="How should this model be trained? Compare training strategies on a task, with evidence.",
    epilog=EPILOG,
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"steepest {version('steepest')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Compare training strategies on a task."""
    settings.debug = debug
    if os.getcwd() not in sys.path:  # so that my_module:my_task is found where the command is typed
        sys.path.insert(0, os.getcwd())


def _register() -> None:
    from steepest.cli.bench import bench
    from steepest.cli.compare import compare
    from steepest.cli.doctor import doctor
    from steepest.cli.federate import federate
    from steepest.cli.graph import graph
    from steepest.cli.landscape import landscape
    from steepest.cli.list import list_
    from steepest.cli.lr_find import lr_find
    from steepest.cli.plot_schedule import plot_schedule
    from steepest.cli.recommend import recommend
    from steepest.cli.report import report
    from steepest.cli.show import show
    from steepest.cli.tasks import tasks
    from steepest.cli.train import train
    from steepest.cli.tune import tune
    from steepest.cli.watch import watch

    asking = (list_, show, plot_schedule, landscape, graph, lr_find)
    for verb in (compare, bench, tune, federate, recommend, tasks, train, watch, report, doctor, *asking):
        app.command(verb.__name__.strip("_").replace("_", "-"))(guarded(verb))


_register()


def main() -> None:
    """Run the command line. ``--debug`` may stand anywhere; it also shows where a warning comes from."""
    writable()
    if "--debug" not in sys.argv:
        warnings.showwarning = lambda message, *_, **__: warn(message)
    app(args=sorted(sys.argv[1:], key=lambda word: word != "--debug"))


if __name__ == "__main__":
    main()
