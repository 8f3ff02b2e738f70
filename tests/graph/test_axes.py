from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from steepest.graph.axes import Atom, Beside, Product, atoms, beside, cut, divide, fix, product, seen, unify


def test_an_atom_that_meets_heads_and_features_is_their_product() -> None:
    heads, key, whole, other = Atom(2), Atom(3), Atom(6), Atom(6)
    unify(whole, other)
    unify(other, product([heads, key]))
    assert seen(whole) == seen(other) == Product((heads, key))


def test_what_is_fixed_stays_fixed_whatever_it_turns_out_to_be() -> None:
    whole = Atom(6, "output")
    unify(whole, product([Atom(2), Atom(3)]))
    assert [atom.fixed for atom in atoms(whole)] == ["output", "output"]
    a, b = Atom(4), Atom(4, "input")
    unify(a, b)
    assert next(atoms(a)).fixed == "input"


def test_products_are_made_finer_until_they_fit() -> None:
    a, b = product([Atom(4), Atom(6)]), product([Atom(4), Atom(2), Atom(3)])
    unify(a, b)
    assert [atom.size for atom in atoms(a)] == [4, 2, 3]
    assert list(atoms(a)) == list(atoms(b))


def test_products_that_do_not_fit_are_fixed() -> None:
    a, b = product([Atom(2), Atom(3)]), product([Atom(3), Atom(2)])
    unify(a, b)
    assert all(atom.fixed for axis in (a, b) for atom in atoms(axis))


def test_parts_side_by_side_are_divided_where_either_side_ends() -> None:
    a, b = beside([Atom(2), Atom(4)]), beside([Atom(3), Atom(3)])
    unify(a, b)
    assert [atom.size for atom in atoms(a)] == [atom.size for atom in atoms(b)] == [2, 1, 3]
    assert list(atoms(a)) == list(atoms(b))


def test_an_axis_that_would_be_part_of_itself_is_fixed() -> None:
    a = Atom(6)
    parts = divide(a, [2, 4])
    assert parts is not None
    b = Atom(6)
    unify(b, a)
    unify(b, seen(a))
    assert not any(atom.fixed for atom in atoms(b))


def test_rows_of_a_product_share_what_is_in_them() -> None:
    inside = Atom(5)
    pieces = divide(product([Atom(3), inside]), [5, 10])
    assert pieces is not None and pieces[0] is inside and [p.size for p in pieces] == [5, 10]
    assert divide(product([Atom(3), Atom(5)]), [4, 11]) is None


@given(some.lists(some.integers(1, 5), min_size=1, max_size=5), some.randoms())
def test_factors_have_the_sizes_asked_for_or_there_are_none(sizes: list[int], random: object) -> None:
    axis = product([Atom(n) for n in sizes])
    assert axis.size == math.prod(sizes)
    for wanted in (sizes, [axis.size], sizes[::-1], [1, *sizes]):
        found = cut(axis, wanted)
        assert found is None or [f.size for f in found] == wanted
    assert cut(axis, [axis.size]) is not None


@given(some.lists(some.integers(1, 5), min_size=1, max_size=5))
def test_parts_have_the_sizes_asked_for(sizes: list[int]) -> None:
    axis = beside([Atom(n) for n in sizes])
    for wanted in (sizes, sizes[::-1], [1] * sum(sizes)):
        found = divide(axis, wanted)
        assert found is not None and [f.size for f in found] == wanted
    assert beside([axis]).size == sum(sizes)


def test_a_reason_is_the_first_that_was_given() -> None:
    a = Atom(3)
    fix(a, "input")
    fix(a, "output")
    assert a.fixed == "input"
    with pytest.raises(AttributeError):
        Beside((a,)).parts = ()  # type: ignore[misc]
