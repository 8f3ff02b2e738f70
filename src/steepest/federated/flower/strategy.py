"""A federation as a Flower ``Strategy``: rounds, records and checkpoints are ours, messages are Flower's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from torch import Tensor

from steepest.core.records import RUN, lock
from steepest.federated.clients import Work
from steepest.federated.errors import FederationError
from steepest.federated.federation import Federation
from steepest.federated.flower.records import arrays_of, content
from steepest.federated.flower.refuse import refuse
from steepest.federated.flower.wire import Gathering, Job
from steepest.federated.local import Found, Pull

LOG = logging.getLogger("flwr")


class Steepest(Strategy):  # type: ignore[misc, unused-ignore]
    """A federation's server: any method, any server rule, and privacy by a trusted server.

    ``start`` runs the rounds; with ``out`` there is a checkpoint after each, and a strategy that is started again on
    the same folder goes on after the last. A node that is lost is waited for, or another with its partition-id; its
    clients are asked again. After ``wait`` seconds without, their updates are missing in this round.

    Args:
        fed: The federation.
        out: Folder for records and checkpoints; None: none.
        wait: Seconds that a round waits for a node that is not there.
    """

    name = "flower"

    def __init__(self, fed: Federation, out: str | Path | None = None, wait: float = 600.0) -> None:
        refuse(fed)
        self.fed, self.out, self.wait = fed, None if out is None else Path(out), wait
        self.parts: dict[int, tuple[int, int]] = {}
        """Node: its partition-id, and how many there are."""
        self.rounds, self.timeout = 1, 3600.0

    def start(
        self, grid: Grid, initial_arrays: ArrayRecord | None = None, num_rounds: int = 3, timeout: float = 3600,
        train_config: ConfigRecord | None = None, evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:  # fmt: skip
        """Run all rounds, or those that are left.

        Args:
            grid: Where the nodes are.
            initial_arrays: Must be left out: the federation knows its first weights.
            num_rounds: How many.
            timeout: Seconds that a node has to answer.
            train_config: Must be left out: the federation says how.
            evaluate_config: Likewise.
            evaluate_fn: Likewise.
        """
        given = {"initial_arrays": initial_arrays, "train_config": train_config, "evaluate_config": evaluate_config,
                 "evaluate_fn": evaluate_fn}  # fmt: skip
        for name, value in given.items():
            if value is not None:
                raise FederationError(f"leave {name} out: the federation knows its weights, and how to train and test.")
        self.grid, self.rounds, self.timeout = grid, num_rounds, timeout
        self.summary()
        self.fed.remote = self
        try:
            resume = False
            if self.out is not None:
                with lock(self.out, patience=300):  # one that was left behind by a server that was killed
                    resume = (self.out / RUN).exists()
            run = self.fed.run(num_rounds, out=self.out, resume=resume)
        finally:
            self.fed.remote = None
        assert run.model is not None
        result = Result()
        result.arrays = ArrayRecord(run.model.state_dict())
        for line in run.metrics("eval"):
            values = {k: float(v) for k, v in line.items() if k not in ("kind", "step", "split") and v is not None}
            result.evaluate_metrics_serverapp[int(line["step"])] = MetricRecord({**values})
        LOG.info("federation %s after %d rounds: %s", run.status, run.result["steps"], run.validation)
        return result

    def summary(self) -> None:
        LOG.info("%r; records in %s", self.fed, self.out)

    # ---------------------------------------------------------------------------------- what a federation asks of it

    def train(self, work: Work, turn: int, start: Tensor, buffers: Mapping[str, Tensor], pull: Pull) -> Found:
        """Let nodes train, as any engine would; rows of those that are lost are not finite."""
        self.job = Job(work, turn, start, dict(buffers), pull)
        self.gathering = Gathering(self.job)
        end = time.monotonic() + self.wait
        while self.gathering.left:
            messages = list(self.configure_train(turn + 1, ArrayRecord(), ConfigRecord(), self.grid))
            if messages:
                self.aggregate_train(turn + 1, self.grid.send_and_receive(messages, timeout=self.timeout))
            if self.gathering.left:
                if time.monotonic() > end:
                    LOG.warning("round %d goes on without clients %s", turn + 1, sorted(self.gathering.left))
                    break
                time.sleep(1)
        return self.gathering.found

    def gradients(
        self, work: Work, step: int, turn: int, start: Tensor, buffers: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Not there: it would be a message for every step."""
        raise FederationError(f"{self.fed.method.name} takes its clients' gradients step by step: in simulation only.")

    # --------------------------------------------------------------------------------------------- Flower's own names

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """A message for each node that has clients of the round which have not come back."""
        nodes = set(grid.get_node_ids())
        self.parts = {node: own for node, own in self.parts.items() if node in nodes}
        self._meet([node for node in nodes if node not in self.parts], grid)
        self.asked: dict[int, list[int]] = {}
        taken: set[int] = set()
        for node, (part, of) in sorted(self.parts.items(), key=lambda item: -item[0]):
            own = [c for c in sorted(self.gathering.left) if c % of == part and c not in taken]
            taken |= set(own)
            if own:
                self.asked[node] = own
        for node, own in self.asked.items():
            packed, values = self.job.of([self.gathering.places[c] for c in own]).packed()
            said = content(packed, {**values, "rounds": self.rounds})
            yield self._message(said, MessageType.TRAIN, node, str(server_round))

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Take what nodes send; a node that does not answer as it should is forgotten, and met anew if it is there."""
        good = set()
        for reply in replies:
            node = reply.metadata.src_node_id
            if reply.has_error():  # it may come from the SuperLink, in the name of a node that is lost
                LOG.warning("round %d: %s", server_round, reply.error.reason)
                continue
            try:
                self.gathering.take(arrays_of(reply.content), self.asked[node])
                good.add(node)
            except (FederationError, KeyError) as error:
                LOG.warning("round %d: node %d sends %s", server_round, node, error)
        for node in set(self.asked) - good:
            self.parts.pop(node, None)
        return None, MetricRecord({"clients": len(self.gathering.places) - len(self.gathering.left)})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Nothing: the server measures."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Nothing: the server measures."""
        return None

    def _meet(self, nodes: list[int], grid: Grid) -> None:
        """Ask new nodes whose clients they have."""
        if not nodes:
            return
        asked = [self._message(RecordDict({"config": ConfigRecord()}), MessageType.QUERY, n, "who") for n in nodes]
        for reply in grid.send_and_receive(asked, timeout=self.timeout):
            if reply.has_error():
                LOG.warning("node %d: %s", reply.metadata.src_node_id, reply.error.reason)
                continue
            own: Any = reply.content["config"]
            self.parts[reply.metadata.src_node_id] = int(own["part"]), int(own["of"])

    def _message(self, said: RecordDict, kind: str, node: int, group: str) -> Message:
        return Message(content=said, message_type=kind, dst_node_id=node, group_id=group)
