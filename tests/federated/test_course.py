"""Who is there, who is late, and servers that do not wait: against a simulation by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from federated_problems import after, blobs, opened, point, quadratic

from steepest.federated import Federation
from steepest.federated.available import as_availability, patterns
from steepest.federated.clock import as_clock, clocks
from steepest.federated.errors import FederationError
from steepest.federated.methods import FedAsync, FedAvg, FedBuff

A, B, LR, K = np.array([1.0, 3.0, 0.5, 2.0]), np.array([-1.0, 2.0, 4.0, 0.5]), 0.1, 5
SGD = f"sgd(lr={LR})"


# ------------------------------------------------------------------------------------------------------------ no rounds


def walked(paces: Any, buffer: int, steps: int, rule: Any) -> tuple[list[float], list[float]]:
    """All four clients train at any time; when one is back it waits for the server's step, and begins again.

    Where the server stands after each step, and when. ``rule(x, old, d, lag)`` is what one update adds.
    """
    x, t, time = 3.0, 0, 0.0
    began = dict.fromkeys(range(4), (0.0, x, 0))  # when, from where, from which step
    found, times = [], []
    for _ in range(steps):
        first = sorted(began, key=lambda i: began[i][0] + K * paces[i])[:buffer]
        time = max(began[i][0] + K * paces[i] for i in first)
        moves = []
        for i in first:
            _, old, since = began.pop(i)
            d = (1 - (1 - LR * A[i]) ** K) * (B[i] - old)
            moves.append(rule(x, old, d, t - since))
        x, t = x + float(np.mean(moves)), t + 1
        for i in first:
            began[i] = (time, x, t)
        found.append(x)
        times.append(time)
    return found, times


@pytest.mark.parametrize(
    ("method", "buffer", "rule"),
    [
        (FedBuff(client=SGD, buffer=2), 2, lambda x, old, d, lag: d / np.sqrt(1 + lag)),
        (FedBuff(client=SGD, buffer=3, a=0.0), 3, lambda x, old, d, lag: d),
        (FedAsync(client=SGD, rho=0.0), 1, lambda x, old, d, lag: 0.6 / np.sqrt(1 + lag) * (old + d - x)),
        (
            FedAsync(client=SGD, rho=0.0, staleness="hinge", a=2.0, b=1.0), 1,
            lambda x, old, d, lag: 0.6 * (1 if lag <= 1 else 1 / (2 * (lag - 1) + 1)) * (old + d - x),
        ),
        (FedAsync(client=SGD, rho=0.0, staleness="constant"), 1, lambda x, old, d, lag: 0.6 * (old + d - x)),
    ],
    ids=lambda value: "" if callable(value) else str(value),
)  # fmt: skip
def test_a_server_that_does_not_wait_is_its_algorithm(method: Any, buffer: int, rule: Any) -> None:
    task, clients = quadratic(A, B)
    made = opened(Federation(task, clients, method, steps=K, clock="lognormal:0.7"), 12)
    want, times = walked(made.course.paces.tolist(), buffer, 12, rule)
    found, at, lags = [], [], []
    for _ in range(12):
        made.round()
        found.append(point(made))
        at.append(made.course.time)
        lags.append(made.lines[-1]["lag_max"])
    assert found == pytest.approx(want, rel=1e-12) and at == pytest.approx(times, rel=1e-12)
    assert max(lags) >= (1 if buffer == 3 else 2)


def test_fedasync_holds_clients_near_what_they_were_sent() -> None:
    task, clients = quadratic(A[:1], B[:1])
    made = after(task, clients, FedAsync(client=SGD, alpha=1.0, rho=0.5), 1, steps=K)
    x = 3.0
    for _ in range(K):
        x -= LR * (A[0] * (x - B[0]) + 0.5 * (x - 3.0))
    assert point(made) == pytest.approx(x, rel=1e-13)


def test_fedbuff_of_everybody_at_one_pace_is_fedavg_bit_for_bit() -> None:
    task, clients = blobs()
    whole = after(task, clients, FedBuff(buffer=8), 3, steps=4)
    assert torch.equal(
        whole.server.weights(), after(task, clients, FedAvg(weighting="equal"), 3, steps=4).server.weights()
    )
    assert whole.lines[-1]["lag_max"] == 0 and whole.course.time == 12.0


def test_so_many_train_at_any_time_and_nobody_twice() -> None:
    task, clients = blobs()
    made = opened(Federation(task, clients, FedBuff(buffer=2), sample=3, clock="half_normal(jitter=0.3)"), 20)
    sent = 0
    for turn in range(20):
        made.round()
        line = made.lines[-1]
        sent += line["sampled"]
        assert line["clients"] == 2
        busy = [job.client for job in made.course.jobs]
        assert len(busy) == len(set(busy)) <= 3
        assert sent == 2 * (turn + 1) + len(busy)
        assert set(made.course.past) >= {job.turn for job in made.course.jobs}
        assert len(made.course.past) <= 4
    assert made.traffic.down == sent * made.down.sent.bytes


def test_batch_norm_of_clients_of_different_times_agrees_between_engines() -> None:
    from torch import nn

    def net() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))

    from steepest.federated.partition import Partition

    task, _ = blobs(layers=net, dtype=torch.float64)
    even = Partition(np.arange(120).reshape(10, 12), 120)
    more: dict[str, Any] = {"sample": 5, "clock": "lognormal:1"}
    stacked, loop = (after(task, even, FedBuff(buffer=3), 5, engine=e, **more) for e in ("stacked", "loop"))
    assert stacked.fed.engine == "stacked"
    for name, b in stacked.server.buffers.items():
        assert torch.allclose(b.double(), loop.server.buffers[name].double(), rtol=0, atol=1e-10)
    assert torch.allclose(stacked.server.weights(), loop.server.weights(), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("method", "more", "said"),
    [
        ("fedbuff(buffer=9)", {}, "waits for 9 updates, and 8 clients have rows"),
        ("fedbuff", {"down": "int8", "sample": 8}, "Make buffer smaller"),
        ("fedbuff(buffer=2)", {"down": "int8"}, "down is about rounds"),
        ("fedasync", {"clock": "even", "deadline": 3.0}, "deadline is about rounds"),
        ("fedasync(staleness='linear')", {}, "staleness is 'polynomial', 'hinge' or 'constant'"),
        ("fedavg", {"deadline": 3.0}, "deadline is a time above 0 on a clock"),
        ("fedavg", {"deadline": 3.0, "clock": "even", "late": "never"}, "late is 'dropped' or 'fewer'"),
        ("fedavg", {"clock": "lognorml"}, "Did you mean 'lognormal'"),
        ("fedavg", {"available": "durnal"}, "Did you mean 'diurnal'"),
    ],
)
def test_what_does_not_go_together_is_said(method: str, more: dict[str, Any], said: str) -> None:
    task, clients = blobs()
    with pytest.raises(FederationError, match=said):
        after(task, clients, method, 1, **more)


# ------------------------------------------------------------------------------------------------------ late and away


def test_a_deadline_drops_who_is_late_and_ends_the_round() -> None:
    task, clients = quadratic(A, B)
    made = opened(Federation(task, clients, FedAvg(client=SGD), steps=K, clock="lognormal:1", deadline=6.0), 3)
    paces = made.course.paces.numpy()
    fast = paces * K <= 6.0
    assert 0 < fast.sum() < 4
    s, x = 1 - (1 - LR * A) ** K, 3.0
    for turn in range(3):
        made.round()
        x += (s * (B - x))[fast].mean()
        line = made.lines[-1]
        assert (line["clients"], line["sampled"], line["late"]) == (fast.sum(), 4, 4 - fast.sum())
        assert line["time"] == 6.0 * (turn + 1)
    assert point(made) == pytest.approx(x, rel=1e-13)


def test_late_clients_may_take_fewer_steps() -> None:
    task, clients = quadratic(A, B)
    more: dict[str, Any] = {"steps": K, "clock": "lognormal:1", "deadline": 3.0, "late": "fewer"}
    made = opened(Federation(task, clients, FedAvg(client=SGD), **more), 1)
    took = np.minimum(K, np.floor(3.0 / made.course.paces.numpy()))
    made.round()
    some = took > 0
    moved = ((1 - (1 - LR * A) ** took) * (B - 3.0))[some]
    assert len(set(took)) > 2 and point(made) == pytest.approx(3.0 + moved.mean(), rel=1e-13)
    assert made.lines[-1]["local_steps"] == took.sum()


def test_without_a_deadline_a_round_takes_as_long_as_its_slowest_client() -> None:
    task, clients = quadratic(A, B)
    made = after(task, clients, FedAvg(client=SGD), 2, steps=K, clock="uniform(low=1, high=3)")
    assert made.course.time == pytest.approx(2 * K * float(made.course.paces.max()))


def test_clients_that_are_not_there_are_not_asked() -> None:
    task, clients = blobs()
    made = opened(Federation(task, clients, "fedavg", sample=4, available="chance:0.4"), 30)
    counts = []
    for turn in range(30):
        there = set(made.course.there(turn))
        assert set(made.sampled(turn)) <= there and len(made.sampled(turn)) == min(4, len(there))
        made.round()
        counts.append(len(there))
        assert made.lines[-1]["available"] == len(there)
    assert 1.5 < np.mean(counts) < 5
    plain = opened(Federation(task, clients, "fedavg", sample=4), 2)
    always = opened(Federation(task, clients, "fedavg", sample=4, available="chance:1.0"), 2)
    assert [plain.sampled(t) for t in range(9)] == [always.sampled(t) for t in range(9)]


def test_patterns_are_what_they_say() -> None:
    def share(text: str, turns: Any, clients: int = 2000) -> float:
        pattern = as_availability(text)
        assert pattern is not None
        return float(np.mean([float(pattern.there(t, clients, 0).double().mean()) for t in turns]))

    assert share("chance:0.3", range(5)) == pytest.approx(0.3, abs=0.02)
    assert share("uneven(low=0.2)", range(5)) == pytest.approx(0.6, abs=0.02)
    assert share("diurnal(period=24)", [6]) == 1.0 and share("diurnal(period=24)", [18]) == 0.0
    assert share("diurnal(period=24)", range(24)) == pytest.approx(0.5, abs=0.02)
    assert share("diurnal(period=24, zones=4)", [6]) == pytest.approx(0.5, abs=0.03)


def test_clocks_are_what_they_say() -> None:
    def paces(text: str) -> Any:
        clock = as_clock(text)
        assert clock is not None
        return clock.paces(20_000, 0).numpy()

    assert paces("even").tolist() == [1.0] * 20_000
    logs = np.log(paces("lognormal:0.5"))
    assert abs(logs.mean()) < 0.02 and logs.std() == pytest.approx(0.5, abs=0.01)
    assert np.median(paces("half_normal")) == pytest.approx(1.0, abs=0.02)
    low_high = paces("uniform(low=0.5, high=2)")
    assert low_high.min() >= 0.5 and low_high.max() <= 2
    jittery = as_clock("even(jitter=0.3)")
    assert jittery is not None
    luck = np.log([jittery.luck(job, 3, 0) for job in range(2000)])
    assert luck.std() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("text", [*sorted(clocks()), *sorted(patterns())])
def test_every_one_is_its_text(text: str) -> None:
    made = as_clock(text) if text in clocks() else as_availability(text)
    again = as_clock(str(made)) if text in clocks() else as_availability(str(made))
    assert again == made


def test_a_night_in_which_nobody_is_there_changes_nothing() -> None:
    task, clients = blobs()
    for method in ("fedavg", "fedbuff(buffer=2)"):
        made = opened(Federation(task, clients, method, available="diurnal(period=4, mean=0.001, swing=0.0)"), 3)
        before = made.server.weights()
        made.round()
        assert made.lines[-1]["clients"] == 0 and torch.equal(made.server.weights(), before)
