"""A node's side: it trains those of the federation's clients that are its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from steepest.federated.federation import Federation
from steepest.federated.flower.records import arrays_of, content
from steepest.federated.flower.wire import Job, answer


def client_app(make: Callable[[], Federation]) -> ClientApp:
    """A Flower ``ClientApp``: of P nodes, the one with partition-id p has the clients p, p + P, p + 2 P, ...

    Args:
        make: Makes the federation; every node and the server make the same.
    """
    app: Any = ClientApp()

    @app.query()  # type: ignore[untyped-decorator, unused-ignore]
    def who(message: Message, context: Context) -> Message:
        mine = ConfigRecord({"part": part(context), "of": parts(context)})
        return Message(RecordDict({"config": mine}), reply_to=message)

    @app.train()  # type: ignore[untyped-decorator, unused-ignore]
    def train(message: Message, context: Context) -> Message:
        values = dict(message.content["config"])
        job = Job.unpacked(arrays_of(message.content), values)
        fed = make()
        clients = [int(c) for c in job.work.clients]
        strangers = [c for c in clients if c % parts(context) != part(context)]
        if strangers:
            raise ValueError(f"clients {strangers} are not this node's.")
        engine = fed.trainer(int(values["rounds"]), fed.clients)
        found = engine.train(job.work, job.turn, job.start, job.buffers, job.pull)
        rows = int(fed.clients.sizes[clients].sum())
        return Message(content(answer(clients, found), examples=rows), reply_to=message)

    made: ClientApp = app
    return made


def part(context: Context) -> int:
    """Which node this is, of ``--node-config 'partition-id=0 num-partitions=2'``."""
    return int(context.node_config["partition-id"])


def parts(context: Context) -> int:
    """How many nodes there are."""
    return int(context.node_config["num-partitions"])
