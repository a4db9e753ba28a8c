"""Half-sets never share a filament, whatever the table looks like."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helixlab.errors import HelixLabError
from helixlab.io import ParticleStack, new_particle_stack
from helixlab.reconstruct import split_half_sets


def stack_of(filaments: list[int] | np.ndarray) -> ParticleStack:
    n = len(filaments)
    stack = new_particle_stack(["a.mrcs"], np.zeros(n, int), np.arange(n), 1.5, 64)
    return stack.replace(filament_id=np.asarray(filaments))


@given(st.lists(st.integers(0, 12), min_size=2, max_size=60).filter(lambda ids: len(set(ids)) > 1), st.integers(0, 9))
def test_no_filament_is_divided_and_halves_are_balanced(filaments: list[int], seed: int) -> None:
    half = split_half_sets(stack_of(filaments), seed)
    assert set(half) == {1, 2}
    ids = np.array(filaments)
    for filament in set(filaments):
        assert len(set(half[ids == filament])) == 1
    longest = np.unique(ids, return_counts=True)[1].max()
    assert abs(int((half == 1).sum()) - int((half == 2).sum())) <= longest


def test_the_seed_decides() -> None:
    stack = stack_of(np.repeat(np.arange(20), 3))
    first = split_half_sets(stack, 4)
    assert np.array_equal(first, split_half_sets(stack, 4))
    assert not np.array_equal(first, split_half_sets(stack, 5))


def test_the_tables_own_half_sets_are_kept() -> None:
    stack = stack_of([0, 0, 1, 2])
    given_half = np.array([2, 2, 2, 1])
    assert split_half_sets(stack.replace(half_set=given_half), 3).tolist() == [2, 2, 2, 1]
    assert set(split_half_sets(stack.replace(half_set=np.ones(4, int)))) == {1, 2}
    with pytest.raises(HelixLabError, match=r"1 of 3 filaments .* both half-sets .* that of row 1\)"):
        split_half_sets(stack.replace(half_set=np.array([1, 2, 2, 1])))
    with pytest.raises(HelixLabError, match=r"row 4 .* is in half-set 3; needed 1 or 2"):
        split_half_sets(stack.replace(half_set=np.array([1, 1, 2, 3])))


def test_micrographs_stand_in_for_filaments() -> None:
    stack = stack_of([0, 0, 0, 0]).replace(filament_id=None)
    with pytest.raises(HelixLabError, match=r"_rlnHelicalTubeID .* is missing"):
        split_half_sets(stack)
    half = split_half_sets(stack.replace(micrograph=np.array([0, 1, 0, 1]), micrograph_names=("a", "b")))
    assert half[0] == half[2] != half[1] == half[3]
    with pytest.raises(HelixLabError, match="found one filament; needed at least 2"):
        split_half_sets(stack_of([7, 7, 7]))
