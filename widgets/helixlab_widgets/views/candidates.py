"""The answers of a symmetry search as a table to choose from."""

import math
from collections.abc import Sequence
from typing import Any

import traitlets

from helixlab.geometry import HelicalSymmetry
from helixlab.search import Candidate
from helixlab_widgets.base import Canvas, View

_HELP = """The symmetries that the search found, best first. Click a row, or focus it and press Enter, to look at that \
symmetry; the button at its end opens what else is known of it: the same symmetry in other words, and remarks.
The score is the mean correlation of the map with its copies under all operators: 1 is perfect. Numbers after ± are \
standard errors, so that twice as much to either side is the range to reckon with; they are unknown where the map does \
not determine a value, has no noise to take an error from, or had the symmetry imposed on it before. Rows marked as \
rivals fit this map equally well: it cannot decide between them, nor can an FSC."""

_HANDS = {1: "right", -1: "left", 0: "none"}


class CandidatesCanvas(Canvas, script="candidates.js"):
    """The table of :class:`CandidatesTable`, as texts."""

    rows = traitlets.List(traitlets.Dict(), help="One per candidate: texts by column, and lists of remarks.").tag(
        sync=True
    )
    warnings = traitlets.List(traitlets.Unicode(), help="Shown above the table.").tag(sync=True)
    chosen = traitlets.Int(None, allow_none=True, help="Position of the row the user chose.").tag(sync=True)
    marked = traitlets.Int(None, allow_none=True, help="Position of the row that is marked.").tag(sync=True)
    empty_text = traitlets.Unicode("Press “Search symmetry” to find candidates.", help="Shown without rows.").tag(
        sync=True
    )


class CandidatesTable(View):
    """Candidates of a symmetry search, to choose from.

    Parameters
    ----------
    candidates : sequence of Candidate
        Best first.
    warnings : sequence of str
        What must be known of the whole search.

    Examples
    --------
    >>> table = CandidatesTable([Candidate(HelicalSymmetry(22.0312, 1.40833), 0.97, 0.06, 0.002, 0.0004, 0.00012)])
    >>> row = table.canvas.rows[0]
    >>> row["twist"], row["rise"], row["score"]
    ('22.0312 ± 0.0004', '1.40833 ± 0.00012', '0.970 ± 0.002')
    """

    candidates = traitlets.Tuple(help="What the table shows, best first.")
    warnings = traitlets.Tuple(help="Sentences above the table.")
    chosen = traitlets.Int(
        None, allow_none=True, help="Position of the candidate the user chose; None before, and once another is marked."
    )
    marked = traitlets.Int(None, allow_none=True, help="Position of the candidate that is marked; None for none.")

    def __init__(self, candidates: Sequence[Candidate] = (), *, warnings: Sequence[str] = ()) -> None:
        self.canvas = CandidatesCanvas()
        super().__init__([self.canvas], title="Candidates", help_text=_HELP, name="candidates")
        self.watch(self, self._show_rows, "candidates")
        self.watch(self, lambda change: setattr(self.canvas, "warnings", list(change["new"])), "warnings")
        self.share(self.canvas, "chosen", "marked")
        self.show(candidates, warnings=warnings)

    def show(self, candidates: Sequence[Candidate], *, warnings: Sequence[str] = ()) -> None:
        """Show these candidates instead; none is chosen then."""
        with self.canvas.hold_sync():
            self.chosen = self.marked = None
            self.candidates, self.warnings = tuple(candidates), tuple(warnings)

    def mark(self, symmetry: HelicalSymmetry) -> None:
        """Mark the row whose symmetry this is, if there is one."""
        self.marked = next((i for i, c in enumerate(self.candidates) if c.symmetry == symmetry), None)
        if self.chosen != self.marked:
            self.chosen = None

    def _show_rows(self, _change: object) -> None:
        self.canvas.rows = [candidate_row(c) for c in self.candidates]


def candidate_row(candidate: Candidate) -> dict[str, Any]:
    """A candidate as texts: a column's name to what stands there."""
    symmetry = candidate.symmetry
    others = ", ".join(f"{s.twist_deg:.3f}°" for s in symmetry.equivalents()[1:])
    return {
        "twist": number_with_error(symmetry.twist_deg, candidate.twist_se_deg),
        "rise": number_with_error(symmetry.rise_A, candidate.rise_se_A),
        "point_group": symmetry.point_group,
        "pitch": _plain(symmetry.pitch_A),
        "subunits": _plain(symmetry.subunits_per_turn),
        "hand": _HANDS[symmetry.hand],
        "score": number_with_error(candidate.score, candidate.score_se),
        "rivals": [i + 1 for i in candidate.indistinguishable_from],
        "notes": list(candidate.notes),
        "equivalents": f"With the same rise and point group: twist {others}." if others else "",
    }


def number_with_error(value: float, error: float | None) -> str:
    """A number with its standard error, in the digits that the error leaves meaning.

    The error keeps one digit, or two if it begins with a 1.

    Examples
    --------
    >>> number_with_error(22.0312, 0.00043), number_with_error(4.7861, 0.013), number_with_error(21.8, 3.2)
    ('22.0312 ± 0.0004', '4.786 ± 0.013', '22 ± 3')
    >>> number_with_error(-1.2, None), number_with_error(0.97, 0.0)
    ('-1.200 ± unknown', '0.970 ± < 0.00001')
    """
    if error is None or not math.isfinite(error):
        return f"{value:.3f} ± unknown"
    if error < 1e-5:
        # The kernels work in float32.
        return f"{value:.3f} ± < 0.00001"
    digits = -math.floor(math.log10(error))
    if f"{error:e}".startswith("1"):
        digits += 1
    digits = max(digits, 0)
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def _plain(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "∞"
