"""What a table of candidates should say beside each, beyond what the search says of the best one."""

from dataclasses import replace

from helixlab.search import Candidate, SearchResult, SearchSettings
from helixlab.search.judge import Judge
from helixlab.search.verdict import range_warnings


def with_advice(result: SearchResult, settings: SearchSettings) -> SearchResult:
    """A search's result with more notes on its candidates.

    Parameters
    ----------
    result : SearchResult
    settings : SearchSettings
        Those of the search.

    Returns
    -------
    SearchResult
        Every candidate but the first (of which ``result.warnings`` tells) notes when it lies at the edge of what was
        searched or has too few rises in the box. The first one and its rivals note a finer symmetry that holds as well
        but was not searched: below the range of rises, or of another point group than was given.
    """
    filament, best = result.filament, result.best
    judge = Judge(filament if filament.has_half_maps else filament.with_departure_noise(best.symmetry))
    # Along a rod without features every finer rise holds: the search has said so.
    has_steps = judge.continuous_slope(best.symmetry) is None

    def advised(rank: int, candidate: Candidate) -> Candidate:
        notes = list(candidate.notes)
        if rank > 0:
            notes += range_warnings(filament, candidate, settings)
        if has_steps and (rank == 0 or 0 in candidate.indistinguishable_from):
            finest, _, _ = judge.finest(candidate.symmetry)
            if finest.cyclic_order > candidate.symmetry.cyclic_order or finest.rise_A < 0.9 * candidate.symmetry.rise_A:
                notes.append(f"Not the whole symmetry: {finest} holds as well. Widen the search to find it.")
        return replace(candidate, notes=tuple(notes))

    return replace(result, candidates=tuple(advised(i, c) for i, c in enumerate(result.candidates)))
