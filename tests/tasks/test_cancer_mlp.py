from __future__ import annotations

import torch
from sklearn.datasets import load_breast_cancer

from steepest.tasks.cancer_mlp import cancer
from steepest.tasks.splits import split_of


def test_columns_are_standardised_on_the_training_rows_alone() -> None:
    (train, _), (validation, _), (test, _) = cancer()
    torch.testing.assert_close(train.mean(0), torch.zeros(30), atol=1e-5, rtol=0)
    torch.testing.assert_close(train.std(0, correction=0), torch.ones(30), atol=1e-5, rtol=0)
    raw = load_breast_cancer().data
    own = [i for i in range(len(raw)) if split_of(f"cancer/{i}") == "train"]
    other = [i for i in range(len(raw)) if split_of(f"cancer/{i}") == "test"]
    expected = (raw[other] - raw[own].mean(0)) / raw[own].std(0)
    torch.testing.assert_close(test, torch.from_numpy(expected).float())
    assert validation.mean(0).abs().max() > 0.01


def test_rows_are_divided_and_none_is_lost() -> None:
    splits = cancer()
    assert [len(y) for _, y in splits] == [345, 116, 108]
    labels = torch.cat([y for _, y in splits])
    assert torch.bincount(labels).tolist() == [212, 357]
