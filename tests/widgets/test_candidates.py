"""The candidates' table without a browser: its texts, and who chooses what."""

import pytest

from helixlab.geometry import HelicalSymmetry
from helixlab.search import Candidate
from helixlab_widgets import CandidatesTable
from helixlab_widgets.views.candidates import candidate_row, number_with_error

TMV = Candidate(HelicalSymmetry(22.0312, 1.40833), 0.97, 0.06, 0.002, 0.0004, 0.00012)
C6 = Candidate(
    HelicalSymmetry(29.4, 21.8, "C6"), 0.9, 0.2, 0.02, 0.3, None, indistinguishable_from=(0,), notes=("Close to D6.",)
)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (22.0312, 0.0996, "22.03 ± 0.10"),  # the error's first digit after rounding is a 1
        (22.0312, 0.00951, "22.031 ± 0.010"),
        (-166.714, 0.01949, "-166.714 ± 0.019"),
        (21.8, 0.25, "21.8 ± 0.2"),
        (21.8, 12.3, "22 ± 12"),
        (4.75, float("nan"), "4.750 ± unknown"),
    ],
)
def test_digits_follow_the_error(value: float, error: float, text: str) -> None:
    assert number_with_error(value, error) == text


def test_a_row_says_what_is_known() -> None:
    row = candidate_row(C6)
    assert row["rise"] == "21.800 ± unknown"
    assert (row["pitch"], row["subunits"], row["hand"]) == ("266.94", "12.24", "right")
    assert row["rivals"] == [1]  # as they are numbered on the screen
    assert row["notes"] == ["Close to D6."]
    assert "twist -30.600°, 89.400°" in row["equivalents"]
    assert row["equivalents"].count("°") == 11  # twelve descriptions of C6, less this one


def test_a_helix_without_twist_has_no_pitch() -> None:
    row = candidate_row(Candidate(HelicalSymmetry(0.0, 4.8), 0.9, 0.2, 0.02, None, 0.01))
    assert (row["pitch"], row["subunits"], row["hand"]) == ("∞", "∞", "none")


def test_a_choice_of_the_user_is_told_and_ends_when_another_symmetry_comes_in_hand() -> None:
    table = CandidatesTable([TMV, C6], warnings=["At the edge."])
    heard = []
    table.observe(lambda change: heard.append(change["new"]), "chosen")
    table.canvas.chosen = table.canvas.marked = 1  # what a click in the browser does
    assert (table.chosen, table.marked, heard) == (1, 1, [1])
    table.mark(HelicalSymmetry(23.0, 1.4))
    assert (table.chosen, table.marked) == (None, None)
    table.mark(HelicalSymmetry(-30.6, 21.8, "C6"))  # in other words
    assert (table.chosen, table.canvas.marked) == (None, 1)
    assert table.canvas.warnings == ["At the edge."]


def test_other_candidates_clear_the_choice() -> None:
    table = CandidatesTable([TMV])
    table.canvas.chosen = 0
    table.show([C6, TMV])
    assert table.chosen is None
    assert [row["point_group"] for row in table.canvas.rows] == ["C6", "C1"]
    assert table.canvas.warnings == []
