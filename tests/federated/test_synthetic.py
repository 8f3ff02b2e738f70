"""The made-up clients are those of their paper; a backdoor opens, and is measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from federated_problems import blobs

from steepest.federated import Federation, iid
from steepest.federated.attacks import as_attack
from steepest.federated.errors import FederationError
from steepest.federated.synthetic import problem, synthetic


def features(dealt: Any, task: Any) -> Any:
    return [task.train[0][torch.from_numpy(own)].numpy() for own in dealt.rows]


def test_clients_see_what_the_paper_says() -> None:
    task, dealt = synthetic(0.0, 0.0, clients=200)
    assert task.train[0].shape[1] == 60 and int(task.train[1].max()) <= 9
    own = features(dealt, task)
    within = np.mean([x.var(0, ddof=1) for x in own], axis=0)
    assert np.allclose(within, np.arange(1, 61) ** -1.2, rtol=0.1)
    centres = np.stack([x.mean(0) for x in own])
    assert centres.std() == pytest.approx(1.0, abs=0.05)  # v_k ~ N(0, 1)
    assert np.median([len(x) for x in own]) == pytest.approx(0.8 * (50 + np.exp(4)), rel=0.25)
    wide = np.stack([x.mean(0).mean() for x in features(*reversed(synthetic(0.0, 2.0, clients=200)))])
    assert wide.std() == pytest.approx(2.0, abs=0.3)  # B_k ~ N(0, 2^2)


def test_labels_are_linear_and_one_for_all_where_all_are_alike() -> None:
    task, _ = synthetic(clients=10, iid=True)
    x, y = task.train
    model = task.build(0)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> Any:
        optimizer.zero_grad()
        loss = task.loss(model(x), (x, y))
        loss.backward()
        return loss

    optimizer.step(closure)
    assert float((model(x).argmax(-1) == y).double().mean()) > 0.99


def test_everybody_gives_a_tenth_to_validation_and_to_test_and_the_seed_says_all() -> None:
    task, dealt = synthetic(1.0, 1.0, clients=12)
    whole = sum(len(split[0]) for split in (task.train, task.validation, task.test))
    assert len(task.validation[0]) == pytest.approx(whole / 10, rel=0.1) and len(dealt) == 12
    again, _ = synthetic(1.0, 1.0, clients=12)
    other, _ = synthetic(1.0, 1.0, clients=12, seed=1)
    assert torch.equal(task.train[0], again.train[0])
    assert task.train[0].shape != other.train[0].shape


def test_texts() -> None:
    made = problem("synthetic(0.5, 1)", 4)
    assert made is not None and made[0].name == "synthetic(0.5, 1)" and len(made[1]) == 4
    assert problem("digits-mlp") is None
    for text in ("synthetic(1)", "synthetic(a, b)"):
        with pytest.raises(FederationError, match="Write synthetic"):
            problem(text)
    with pytest.raises(FederationError, match="alpha must be a number >= 0"):
        problem("synthetic(-1, 1)")


def test_a_federation_learns_it() -> None:
    task, dealt = synthetic(0.5, 0.5, clients=8)
    run = Federation(task, dealt, "fedavg(client=sgd(lr=0.03))", sample=4).run(6)
    errors = [line["error"] for line in run.metrics("eval")]
    assert run.status == "finished" and errors[-1] < errors[0] - 0.2


# --------------------------------------------------------------------------------------------------------- backdoors


def test_a_backdoor_marks_rows_and_is_measured() -> None:
    attack: Any = as_attack("backdoor(share=0.2, size=2, target=3, part=0.5)")
    x, y = torch.zeros(10, 2, 3), torch.arange(10)
    x[0, 0, 0] = 7.0
    made = attack.rows((x, y), 10, torch.Generator().manual_seed(0))
    marked = (made[0].flatten(1)[:, :2] == 7.0).all(1)
    assert int(marked.sum()) == 5 and bool((made[1][marked] == 3).all())
    assert torch.equal(made[1][~marked], y[~marked]) and torch.equal(x[1], torch.zeros(2, 3))

    def success(answer: int) -> float:
        class Says(torch.nn.Module):
            def forward(self, x: Any) -> Any:
                return torch.nn.functional.one_hot(torch.full((len(x),), answer), 3).double()

        task, _ = blobs()
        return float(as_attack("backdoor(target=1)").success(Says(), task)["attack_success"])  # type: ignore[union-attr]

    assert (success(1), success(2)) == (1.0, 0.0)


@pytest.mark.slow
def test_model_replacement_opens_a_backdoor_and_a_median_shuts_it() -> None:
    def run(**more: Any) -> Any:
        made = Federation("digits-mlp", iid(20), "fedavg", batch_size=8, epochs=2, **more).run(20)
        return made.result["attack_success"], 1 - made.result["test"]["error"]

    attack = "backdoor(share=0.2, scale=4, target=1)"
    opened, accuracy = run(attack=attack)
    shut, kept = run(attack=attack, aggregate="median")
    assert opened > 0.8 and accuracy > 0.85  # it works, and does not show
    assert shut < 0.3 and kept > 0.85
