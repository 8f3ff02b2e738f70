"""The server's side: a Flower ``ServerApp`` that runs a federation, and goes on where it was killed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from steepest.federated.federation import Federation
from steepest.federated.flower.strategy import Steepest


def server_app(make: Callable[[], Federation]) -> ServerApp:
    """A Flower ``ServerApp``; its run config says ``num-rounds``, ``out`` (a folder, or empty), ``wait``, ``timeout``.

    Args:
        make: Makes the federation; every node and the server make the same.
    """
    app: Any = ServerApp()

    @app.main()  # type: ignore[untyped-decorator, unused-ignore]
    def main(grid: Grid, context: Context) -> None:
        config = context.run_config
        out = str(config["out"])
        strategy = Steepest(make(), out or None, float(config["wait"]))
        strategy.start(grid, num_rounds=int(config["num-rounds"]), timeout=float(config["timeout"]))

    made: ServerApp = app
    return made
