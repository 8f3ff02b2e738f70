"""Rounds of a federation by Flower's ``run_simulation``: a part of ``benchmarks/federated.py``, which starts it.

    python benchmarks/federated_flower.py WORK.npz FOUND.json

Plain PyTorch on each client, Flower's own FedAvg at the server, no evaluation. WORK holds the first weights, the rows,
and which of them are in each batch of each client and round.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import cache
from typing import Any

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS", "0")

import flwr
import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch import nn

MODELS = {
    "mlp": lambda: nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)),
    "cnn": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    ),
}  # fmt: skip


@cache
def work(place: str) -> dict[str, Any]:
    """Once in each worker."""
    torch.set_num_threads(1)
    held = dict(np.load(place))
    return {**held, "x": torch.from_numpy(held["x"]), "y": torch.from_numpy(held["y"])}


def client(place: str) -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        held = work(place)
        who = int(context.node_config["partition-id"])
        turn = int(message.content["config"]["server-round"]) - 1
        model = MODELS[str(held["model"])]()
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        optimizer = torch.optim.SGD(model.parameters(), lr=float(held["rate"]))
        for rows, count in zip(held["rows"][turn, who], held["counts"][turn, who], strict=True):
            if not count:
                break
            own = torch.from_numpy(rows[:count])
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(held["x"][own]), held["y"][own]).backward()
            optimizer.step()
        said = {
            "arrays": ArrayRecord(model.state_dict()),
            "metrics": MetricRecord({"num-examples": int(held["sizes"][who])}),
        }
        return Message(RecordDict(said), reply_to=message)

    return app


class Timed(FedAvg):
    """FedAvg, and when each round was done."""

    def __init__(self, many: int) -> None:
        super().__init__(fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=many, min_available_nodes=many)
        self.times: list[float] = []

    def configure_train(self, server_round: int, arrays: Any, config: ConfigRecord, grid: Grid) -> Any:
        if not self.times:
            self.times.append(time.perf_counter())
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round: int, replies: Any) -> Any:
        found = super().aggregate_train(server_round, replies)
        self.times.append(time.perf_counter())
        return found


def main(place: str, answer: str) -> None:
    held, begun = work(place), time.perf_counter()
    many, rounds = held["rows"].shape[1], held["rows"].shape[0]
    server = ServerApp()

    @server.main()
    def serve(grid: Grid, _: Context) -> None:
        model = MODELS[str(held["model"])]()
        nn.utils.vector_to_parameters(torch.from_numpy(held["first"]), model.parameters())
        strategy = Timed(many)
        result = strategy.start(grid, ArrayRecord(model.state_dict()), num_rounds=rounds)
        model.load_state_dict(result.arrays.to_torch_state_dict())
        seconds = [b - a for a, b in zip(strategy.times, strategy.times[1:], strict=False)]
        weights = nn.utils.parameters_to_vector(model.parameters()).tolist()
        with open(answer, "w", encoding="utf-8") as file:
            json.dump({"version": flwr.__version__, "start": strategy.times[0] - begun, "seconds": seconds,
                       "weights": weights}, file)  # fmt: skip

    run_simulation(
        server, client(place), num_supernodes=many,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )  # fmt: skip


if __name__ == "__main__":
    import federated_flower  # under a name that its workers can import

    federated_flower.main(*map(os.path.abspath, sys.argv[1:3]))
