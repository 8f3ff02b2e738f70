from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, mean_squared_error

from steepest import tasks
from steepest.tasks.diabetes import diabetes
from steepest.tasks.splits import split_of


def test_columns_and_targets_are_standardised_on_the_training_rows_alone() -> None:
    (x, y), _, (test, _) = diabetes()
    for t in (x, y):
        torch.testing.assert_close(t.mean(0), torch.zeros(t.shape[1]), atol=1e-5, rtol=0)
        torch.testing.assert_close(t.std(0, correction=0), torch.ones(t.shape[1]), atol=1e-5, rtol=0)
    raw = load_diabetes(scaled=False).data
    own = [i for i in range(len(raw)) if split_of(f"diabetes/{i}") == "train"]
    other = [i for i in range(len(raw)) if split_of(f"diabetes/{i}") == "test"]
    expected = (raw[other] - raw[own].mean(0)) / raw[own].std(0)
    torch.testing.assert_close(test, torch.from_numpy(expected).float())


def test_the_measures_are_those_of_scikit_learn() -> None:
    task = tasks.load("diabetes-mlp")
    model = task.build(0)
    x, y = task.validation
    with torch.no_grad():
        out = model(x)
    found = task.evaluate(model)
    assert found["loss"] == pytest.approx(mean_squared_error(y, out), rel=1e-5)
    assert found["absolute"] == pytest.approx(mean_absolute_error(y, out), rel=1e-5)


def test_there_is_something_to_learn_and_noise_that_stays() -> None:
    (x, y), (v, w), _ = (tuple(np.asarray(t) for t in pair) for pair in diabetes())
    error = mean_squared_error(w, LinearRegression().fit(x, y).predict(v))
    assert 0.3 < error < 0.8
