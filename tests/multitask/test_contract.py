"""What every method keeps, found by walking the package: its declarations, its state, its answer to bad gradients."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from matrices import INDEPENDENT, ODD, STATIONARY, USUAL, random, spread
from torch import Tensor

import steepest.multitask
from steepest.core.about import about
from steepest.core.errors import SteepestError
from steepest.core.piece import Kind, classes
from steepest.multitask import Aggregator, Method, MultiTaskError
from steepest.strategy import names, parse, table

CLASSES: dict[str, Any] = classes(steepest.multitask, Method)
GIVEN: dict[str, dict[str, Any]] = {
    name: {"of": steepest.multitask.UPGrad()} for name in ("CRMOGM", "Clustered", "Preconditioned", "Smoothed")
}
"""What has no default."""
KINDS: dict[str, Kind[..., Any]] = {name: table()[name] for name in names("multitask")}


def build(name: str, m: int = 3) -> Method:
    given = {"weights": tuple(range(1, m + 1))} if name == "Weights" else GIVEN.get(name, {})
    made: Method = CLASSES[name](**given)
    return made


def fits(method: Method, m: int) -> bool:
    return m >= max(method.fewest, 2) + getattr(method, "trim", 0) and m >= 3


def losses(m: int) -> Tensor:
    return torch.linspace(0.5, 2.0, m, dtype=torch.float64)


def direction(name: str, J: Tensor, L: Tensor | None = None, steps: int = 1) -> Tensor:
    """What a fresh method makes of the same gradients some steps on."""
    at_work = Aggregator(build(name, len(J)))
    for _ in range(steps):
        d = at_work(J, losses(len(J)) if L is None else L)
    return d


def declares(what: str) -> list[str]:
    return [name for name, cls in CLASSES.items() if getattr(cls, what)]


def matrices(name: str) -> dict[str, Tensor]:
    return {label: J for label, J in USUAL.items() if fits(build(name, len(J)), len(J))}


def test_there_are_as_many_as_there_were() -> None:
    assert len(CLASSES) >= 30


@pytest.mark.parametrize("name", CLASSES)
def test_it_is_a_value_with_a_source(name: str) -> None:
    one = build(name)
    assert one == build(name)
    assert hash(one) == hash(build(name))
    assert copy.deepcopy(one) == one
    doc = type(one).__doc__ or ""
    assert "Source: " in doc
    assert one.needs in ("losses", "gramian", "jacobian")


@pytest.mark.parametrize("name", KINDS)
def test_every_piece_says_when_to_use_it(name: str) -> None:
    kind = KINDS[name]
    said = about(kind).fields
    assert {"Use when", "Not when", "Source"} <= set(said)
    assert isinstance(kind().build(), Method)
    text = f"adamw(lr=0.001) | {kind()}"
    assert parse(text) == parse(str(parse(text)))


def test_every_method_has_a_piece() -> None:
    built = {type(kind().build()) for kind in KINDS.values()}
    assert built == set(CLASSES.values())


@pytest.mark.parametrize("name", CLASSES)
def test_the_direction_is_finite_and_repeats(name: str) -> None:
    """Same gradients, same direction: what is drawn is a function of the step, and nothing is written in place."""
    odd = {label: J for label, J in ODD.items() if fits(build(name, len(J)), len(J))}
    for label, J in {**matrices(name), **odd}.items():
        before = J.clone()
        d = direction(name, J, steps=2)
        assert d.shape == J.shape[1:], label
        assert d.isfinite().all(), label
        assert torch.equal(d, direction(name, J, steps=2)), label
        assert torch.equal(J, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", CLASSES)
def test_it_takes_every_precision(name: str, dtype: torch.dtype) -> None:
    J = torch.randn(5, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact, d = direction(name, J), direction(name, J.to(dtype))
    assert d.dtype == dtype
    eps = float(torch.finfo(dtype).eps)
    if name not in UNSTEADY:
        assert float((d.double() - exact).norm()) <= 100 * eps * max(float(exact.norm()), float(J.norm()))
    assert d.isfinite().all()


UNSTEADY = {"GradDrop", "Krum", "DBMTL", "SDMGrad"}
"""Not continuous, divides by a length, or takes inner steps too long to settle: a rounding error may show in full."""


@pytest.mark.parametrize("bad", [torch.nan, torch.inf], ids=["nan", "inf"])
@pytest.mark.parametrize("name", [name for name, cls in CLASSES.items() if cls.needs != "losses"])
def test_a_gradient_that_is_not_finite_is_handed_on_and_forgotten(name: str, bad: float) -> None:
    """The optimizer's guard sees it; no weights are made up for it, and the state is as if it had not been."""
    J = random(5, 12)
    broken = J.clone()
    broken[0, 3] = bad
    at_work, other = Aggregator(build(name, 5)), Aggregator(build(name, 5))
    at_work(J, losses(5)), other(J, losses(5))
    state = at_work.state
    d = at_work(broken, losses(5))
    if not (name == "TrimmedMean" and bad == torch.inf):  # an extreme like any other, and left out
        assert not d.isfinite().all()
    flat, was = _flat(at_work.state), _flat(state)
    if not name.startswith("CRMOGM"):
        assert len(flat) == len(was)
    assert all(torch.equal(a, b) for a, b in zip(flat, was, strict=True))


def _flat(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    return [x for value in state for x in _flat(value)]


@pytest.mark.parametrize("name", CLASSES)
def test_one_step_after_another_is_the_same_resumed(name: str) -> None:
    """State and step count are all there is to remember, and they survive a file."""
    import io

    from steepest.multitask.state import restored, saved

    J, K = random(4, 10), random(4, 10, seed=1)
    whole = Aggregator(build(name, 4))
    for x in (J, K, J):
        last = whole(x, losses(4))
    first = Aggregator(build(name, 4))
    first(J, losses(4)), first(K, losses(4))
    file = io.BytesIO()
    torch.save({"t": first.t, "state": saved(first.state)}, file)
    file.seek(0)
    data = torch.load(file, weights_only=True)
    second = Aggregator(build(name, 4))
    second.t, second.state = data["t"], restored(second.method.start(4), data["state"])
    assert torch.equal(second(J, losses(4)), last)


# -- the declarations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", declares("non_conflicting"))
def test_non_conflicting(name: str) -> None:
    for label, J in {**matrices(name), **STATIONARY}.items():
        if fits(build(name, len(J)), len(J)):
            d = direction(name, J)
            gains = (J @ d) / (J.norm(dim=1) * max(float(d.norm()), float(J.norm()) * 1e-6))
            assert float(gains.min()) >= -1e-5, label


@pytest.mark.parametrize("name", declares("permutation_invariant"))
def test_permutation_invariant(name: str) -> None:
    for label, J in matrices(name).items():
        if name in ("IMTLG", "ConFIG") and label not in INDEPENDENT:
            continue  # which eigenvalues count as zero is a matter of rounding
        order = torch.randperm(len(J), generator=torch.Generator().manual_seed(0))
        L = losses(len(J))
        d, e = direction(name, J, L), direction(name, J[order], L[order])
        assert float((d - e).norm()) <= 1e-6 * float(J.norm()), label


@pytest.mark.parametrize("name", [name for name in declares("linear_under_scaling") if CLASSES[name].needs != "losses"])
def test_linear_under_scaling(name: str) -> None:
    """A(diag(c) J) is linear in c > 0; weights that do not look at the gradients are so by themselves."""
    for label, J in matrices(name).items():
        if name == "ConFIG" and label not in INDEPENDENT:
            continue
        a, b = spread(len(J), 2, seed=1), spread(len(J), 2, seed=2)
        both = direction(name, (0.3 * a + 2 * b)[:, None] * J)
        apart = 0.3 * direction(name, a[:, None] * J) + 2 * direction(name, b[:, None] * J)
        assert float((both - apart).norm()) <= 1e-6 * float((0.3 * a + 2 * b).max() * J.norm()), label


@pytest.mark.parametrize("name", [name for name in declares("linear_under_scaling") if CLASSES[name].needs == "losses"])
def test_fixed_weights_do_not_look(name: str) -> None:
    J = random(3, 5)
    assert torch.equal(direction(name, J, losses(3)), direction(name, J, 100 * losses(3)))


@pytest.mark.parametrize("name", declares("strongly_stationary"))
def test_strongly_stationary(name: str) -> None:
    """Zero only where a sum with positive weights is: not where two tasks oppose each other and a third could gain."""
    g, h = random(2, 8)
    J = torch.stack([g, -g, h])
    d = direction(name, J)
    assert float(d.norm()) > 1e-3 * float(h.norm())


def test_mgda_is_not_strongly_stationary() -> None:
    """The test above can fail."""
    g, h = random(2, 8)
    assert float(direction("MGDA", torch.stack([g, -g, h])).norm()) < 1e-8


@pytest.mark.parametrize("name", declares("scale_invariant"))
def test_scale_invariant(name: str) -> None:
    """Factors on the losses (so on the gradients) change the direction in length at most."""
    for label, J in matrices(name).items():
        c, L = spread(len(J), 3), losses(len(J))
        d, e = direction(name, J, L), direction(name, c[:, None] * J, c * L)
        if not d.any() and not e.any():
            continue  # stationary
        assert float((d / d.norm() - e / e.norm()).norm()) <= 1e-4, label


# -- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSES)
def test_a_level_that_is_none(name: str) -> None:
    if "level" in {f.name for f in __import__("dataclasses").fields(CLASSES[name])}:
        with pytest.raises(MultiTaskError, match="level is one of gramian, jacobian, features"):
            CLASSES[name](level="rows")


def test_bad_input_is_told() -> None:
    M = steepest.multitask
    with pytest.raises(MultiTaskError, match="rows of a matrix"):
        M.UPGrad()(torch.zeros(3))
    with pytest.raises(MultiTaskError, match="weighs by the losses"):
        M.LogSum()(torch.zeros(2, 3))
    with pytest.raises(MultiTaskError, match=r"got \[-1.0, 2.0\]"):
        M.LogSum()(torch.zeros(2, 3), torch.tensor([-1.0, 2.0]))
    with pytest.raises(MultiTaskError, match="there are 2 tasks, and a preference for 3"):
        M.UPGrad(preference=(1.0, 1.0, 1.0))(torch.ones(2, 3))
    with pytest.raises(MultiTaskError, match="number >= 0 for each task"):
        M.DualProj(preference=(-1.0, 2.0))
    with pytest.raises(MultiTaskError, match="there are 3 tasks, and weights for 2"):
        M.Weights((1.0, 2.0))(torch.zeros(3, 3), torch.ones(3))
    with pytest.raises(SteepestError, match=r"c=-1 is outside \[0, inf\)"):
        M.CAGrad(c=-1)
    with pytest.raises(MultiTaskError, match="needs more than 4 tasks"):
        M.TrimmedMean(2)(torch.zeros(4, 3))
    with pytest.raises(MultiTaskError, match="needs at least 3 tasks"):
        M.Krum()(torch.zeros(2, 3))
    with pytest.raises(SteepestError, match="scale is one of min, median, rmse"):
        parse("adamw | aligned_mtl(scale='max')")
    with pytest.raises(SteepestError, match="compares gradients, such as upgrad"):
        parse("adamw | cr_mogm(graddrop())")
