"""The numbers of a symmetry stay consistent, whichever of them is changed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helixlab.geometry import HelicalSymmetry
from helixlab_widgets.panels.controls import SymmetryControls


@pytest.fixture(scope="module")
def controls():
    made = SymmetryControls(HelicalSymmetry(22.5, 1.4))
    yield made
    made.close()


twists = st.floats(-179, 179).filter(lambda t: abs(t) > 0.1)


@settings(max_examples=30, deadline=None)
@given(twist=twists, rise=st.floats(0.4, 60), order=st.integers(1, 8))
def test_pitch_and_subunits_describe_the_same_screw(controls, twist, rise, order):
    controls.symmetry = HelicalSymmetry(twist, rise, f"C{order}")
    canvas = controls.canvas
    back = HelicalSymmetry.from_pitch(canvas.pitch_A, canvas.subunits_per_turn, canvas.hand, canvas.point_group)
    # Two divisions in float64.
    assert back.twist_deg == pytest.approx(twist, rel=1e-14)
    assert back.rise_A == pytest.approx(rise, rel=1e-14)


def test_each_field_moves_what_it_says(controls):
    controls.symmetry = HelicalSymmetry(22.5, 1.4)
    canvas = controls.canvas
    canvas.subunits_per_turn = 18.0
    assert controls.symmetry.twist_deg == pytest.approx(20.0)
    assert canvas.pitch_A == pytest.approx(22.4)
    canvas.hand = -1
    assert controls.symmetry.twist_deg == pytest.approx(-20.0)
    canvas.point_group = "d2"
    assert canvas.point_group == "D2"


def test_what_is_no_symmetry_is_shown_as_an_error_and_taken_back(controls):
    controls.symmetry = HelicalSymmetry(22.5, 1.4)
    controls.canvas.rise_A = -1.0
    assert "rise_A: found -1.0" in controls.heading.error
    assert controls.canvas.rise_A == 1.4
    controls.canvas.rise_A = 1.5
    assert controls.heading.error == ""


def test_what_is_typed_is_read_or_refused(controls):
    controls.symmetry = HelicalSymmetry(22.5, 1.4)
    canvas = controls.canvas
    canvas._receive(canvas, {"intent": "typed", "name": "twist_deg", "label": "Twist", "text": "twenty"}, [])
    assert controls.heading.error == "Twist: found 'twenty'; type a number, such as 12.5."
    canvas._receive(canvas, {"intent": "typed", "name": "twist_deg", "label": "Twist", "text": " −20,5"}, [])
    assert (controls.symmetry.twist_deg, controls.heading.error) == (-20.5, "")


def test_twist_0_has_no_pitch(controls):
    controls.symmetry = HelicalSymmetry(0.0, 4.8)
    assert (controls.canvas.pitch_A, controls.canvas.hand) == (0.0, 0)


def test_another_description_of_the_same_operators_is_a_change(controls):
    controls.symmetry = HelicalSymmetry(-162.255, 9.15)
    controls.canvas.twist_deg = 197.745
    assert controls.symmetry.twist_deg == 197.745
