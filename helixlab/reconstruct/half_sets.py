"""Half-sets by filament: neighbouring segments see the same subunits, so that halves never share a filament."""

import numpy as np
from jaxtyping import Int

from helixlab.errors import HelixLabError
from helixlab.io import ParticleStack


def split_half_sets(stack: ParticleStack, seed: int = 0) -> Int[np.ndarray, "n"]:
    """The half-set, 1 or 2, of every segment: the table's own, or filaments dealt out at random.

    Parameters
    ----------
    stack : ParticleStack
        With filaments or, where these are missing, with micrographs: a whole micrograph then goes into one half.
    seed : int
        The same seed deals out the same table in the same way. Without effect on a table that has half-sets.

    Returns
    -------
    int array, shape (n,)
        Halves dealt out differ in size by at most the longest filament.

    Raises
    ------
    HelixLabError
        If there are neither filaments nor micrographs, fewer than two of them, or the table's own half-sets share a
        filament.

    Notes
    -----
    A column that says the same of all segments divides nothing (CryoSPARC writes ``split`` 0 where it has not split)
    and counts as none.

    Examples
    --------
    >>> from helixlab.io import new_particle_stack
    >>> stack = new_particle_stack(["a.mrcs"], [0] * 6, [0, 1, 2, 3, 4, 5], 1.5, 64)
    >>> split_half_sets(stack.replace(filament_id=np.array([0, 0, 0, 1, 1, 1]))).tolist()
    [1, 1, 1, 2, 2, 2]
    """
    groups = grouping(stack)
    given = given_half_sets(stack)
    if given is not None:
        shared = shared_groups(groups, given)
        if len(shared):
            raise HelixLabError(
                f"half-sets: {len(shared)} of {len(np.unique(groups))} filaments have segments in both half-sets of "
                f"the table (the first is that of row {np.flatnonzero(groups == shared[0])[0] + 1}); neighbouring "
                "segments overlap, so that the halves are not independent. Remove the column _rlnRandomSubset or "
                "alignments3D/split, and whole filaments are dealt out."
            )
        return given
    _, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise HelixLabError(
            "half-sets: found one filament; needed at least 2, one for each. Give the segments of more filaments."
        )
    return _deal_out(sizes, seed)[members.reshape(-1)]


def grouping(stack: ParticleStack) -> Int[np.ndarray, "n"]:
    """What must stay together: the filament of each segment or, where filaments are not known, its micrograph.

    Raises
    ------
    HelixLabError
        If the table knows neither.
    """
    if stack.filament_id is not None:
        return stack.filament_id
    if stack.micrograph is None:
        stack.require("filament_id")
    return np.asarray(stack.micrograph)


def given_half_sets(stack: ParticleStack) -> Int[np.ndarray, "n"] | None:
    """The table's own half-sets, or None where it has none.

    Raises
    ------
    HelixLabError
        If one is neither 1 nor 2.
    """
    given = stack.half_set
    if given is None or len(np.unique(given)) == 1:
        return None
    odd = np.flatnonzero((given != 1) & (given != 2))
    if odd.size:
        raise HelixLabError(
            f"half-sets: row {odd[0] + 1} ({odd.size} in all) is in half-set {given[odd[0]]}; needed 1 or 2."
        )
    return given


def shared_groups(groups: Int[np.ndarray, "n"], half_set: Int[np.ndarray, "n"]) -> Int[np.ndarray, "k"]:
    """Those with members in both half-sets."""
    return np.intersect1d(groups[half_set == 1], groups[half_set == 2])


def _deal_out(sizes: Int[np.ndarray, "f"], seed: int) -> Int[np.ndarray, "f"]:
    """The half of each filament: the longest first, each to the half that is smaller so far; ties by lot."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    halves, totals = np.zeros(len(sizes), np.int64), [0, 0]
    for filament in order:
        half = int(totals[1] < totals[0])
        halves[filament] = half + 1
        totals[half] += int(sizes[filament])
    return halves
