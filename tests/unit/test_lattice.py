"""The helical lattice: points under the operators, and layer lines against a Fourier transform."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import jv

from helixlab.errors import HelixLabError
from helixlab.geometry import (
    HelicalSymmetry,
    LayerLine,
    first_maximum_per_A,
    indexed_lattice,
    lattice_points,
    layer_lines,
    symmetry_through,
    symmetry_with_layer_line,
    wrap_deg,
)

symmetries = st.builds(
    HelicalSymmetry,
    st.floats(-360, 360).map(lambda angle_deg: round(angle_deg, 3)),  # the seam ±180°/n is 1e-6 wide
    st.floats(1, 30),
    st.sampled_from(["C1", "C2", "C5", "D1", "D3"]),
)

POINT_TOL = 1e-5
"""Degrees and Å: lattice_points calls points 1e-6 apart one; two of them may be compared."""


def is_listed(points: np.ndarray, phi_deg: float, z_A: float) -> bool:
    turn = np.abs((points[:, 0] - phi_deg + 180) % 360 - 180)
    return bool(((turn < POINT_TOL) & (np.abs(points[:, 1] - z_A) < POINT_TOL)).any())


# --- points ---------------------------------------------------------------------------------------


@given(symmetries, st.floats(-180, 180), st.floats(-20, 20), st.floats(0, 3.5))
def test_lattice_is_closed_under_the_operators(
    symmetry: HelicalSymmetry, phi_deg: float, z_A: float, rises_long: float
) -> None:
    assume(abs(rises_long - round(rises_long)) > 1e-3)
    half_A = rises_long * symmetry.rise_A
    points = lattice_points(symmetry, half_A, phi_deg=phi_deg, z_A=z_A)
    assert is_listed(points, phi_deg, z_A)
    assert (np.abs(points[:, 1] - z_A) <= half_A + POINT_TOL).all()
    n = symmetry.cyclic_order
    images = [(phi + symmetry.twist_deg, z + symmetry.rise_A) for phi, z in points]
    images += [(phi + 360 / n, z) for phi, z in points]
    if symmetry.is_dihedral:
        images += [(-phi, -z) for phi, z in points]
    for phi, z in images:
        # An image at the very edge of the window may fall to either side of it.
        if abs(z - z_A) < half_A - POINT_TOL:
            assert is_listed(points, phi, z)


@given(symmetries, st.floats(-180, 180), st.floats(-20, 20))
def test_lattice_lists_each_point_once_in_order(symmetry: HelicalSymmetry, phi_deg: float, z_A: float) -> None:
    points = lattice_points(symmetry, 2.5 * symmetry.rise_A, phi_deg=phi_deg, z_A=z_A)
    assert (points[:, 0] > -180).all()
    assert (points[:, 0] <= 180).all()
    assert (np.diff(points[:, 1]) > -POINT_TOL).all()
    if not symmetry.is_dihedral:
        assert len(points) == 5 * symmetry.cyclic_order


def test_a_point_on_a_dyad_is_its_own_copy() -> None:
    on_the_dyad = lattice_points(HelicalSymmetry(30.0, 10.0, "D1"), 0.0)
    assert on_the_dyad.tolist() == [[0.0, 0.0]]
    beside_it = lattice_points(HelicalSymmetry(30.0, 10.0, "D1"), 4.0, phi_deg=20.0, z_A=1.0)
    np.testing.assert_allclose(beside_it, [[-20.0, -1.0], [20.0, 1.0]], atol=1e-12)


def test_the_dyads_copies_reach_as_far_as_the_others() -> None:
    # At z = 7 the dyad's copies lie at −7 + 10k: 3 is 4 Å away, −7 is 14 Å away.
    points = lattice_points(HelicalSymmetry(0.0, 10.0, "D1"), 5.0, phi_deg=45.0, z_A=7.0)
    np.testing.assert_allclose(points, [[-45.0, 3.0], [45.0, 7.0]], atol=1e-12)


# --- points that know their operator, and the symmetry through them -------------------------------


@given(symmetries, st.floats(-180, 180), st.floats(-20, 20))
def test_indexed_points_are_the_lattice_and_know_their_operator(
    symmetry: HelicalSymmetry, phi_deg: float, z_A: float
) -> None:
    half_A = 2.5 * symmetry.rise_A
    lattice = indexed_lattice(symmetry, (z_A - half_A, z_A + half_A), phi_deg=phi_deg, z_A=z_A)
    n = symmetry.cyclic_order
    assert len(lattice.k) == len(set(zip(lattice.k.tolist(), lattice.turn.tolist(), strict=True))) == 5 * n
    points = lattice_points(symmetry, half_A, phi_deg=phi_deg, z_A=z_A)
    for k, turn, phi, z in zip(lattice.k, lattice.turn, lattice.phi_deg, lattice.z_A, strict=True):
        assert -180 < phi <= 180
        assert is_listed(points, phi, z)
        assert wrap_deg(phi - phi_deg - k * symmetry.twist_deg - turn * 360 / n) == pytest.approx(0, abs=POINT_TOL)


@given(symmetries, st.integers(-200, 200).filter(bool), st.integers(0, 4), st.floats(-400, 400), st.floats(0.01, 500))
def test_the_symmetry_through_a_place_puts_the_point_there(
    symmetry: HelicalSymmetry, k: int, turn: int, phi_deg: float, distance_A: float
) -> None:
    z_A = math.copysign(distance_A, k)
    found = symmetry_through(symmetry, k, turn, phi_deg, z_A)
    assert found.point_group == symmetry.point_group
    assert k * found.rise_A == pytest.approx(z_A)
    off_deg = k * found.twist_deg + turn * 360 / symmetry.cyclic_order - phi_deg
    assert abs(math.remainder(off_deg, 360)) < 1e-9  # float64 rounding of 200 turns: 72000° · eps, times a few
    assert abs(found.twist_deg - symmetry.twist_deg) <= 180 / abs(k) + 1e-9


@given(symmetries)
def test_a_point_left_where_it_is_changes_nothing(symmetry: HelicalSymmetry) -> None:
    lattice = indexed_lattice(symmetry, (-20.0, 20.0))
    for k, turn, phi, z in zip(lattice.k, lattice.turn, lattice.phi_deg, lattice.z_A, strict=True):
        if k:
            found = symmetry_through(symmetry, int(k), int(turn), float(phi), float(z))
            # Not only the same operators, but the same numbers: no jump when a drag starts.
            assert (found.twist_deg, found.rise_A) == pytest.approx((symmetry.twist_deg, symmetry.rise_A), abs=1e-9)


# --- layer lines ----------------------------------------------------------------------------------


def terms_of_an_explicit_helix(
    turns: int, subunits: int, ring: int, *, is_dihedral: bool = False
) -> set[tuple[int, int]]:
    """Which (Bessel order n, layer line l) a helix of points has, by FFT of its unrolled surface.

    One repeat of ``subunits`` in ``turns`` turns fills a grid whose columns divide the circle so that every point
    falls on a grid point: nothing is interpolated, and a forbidden term is zero to rounding.
    """
    columns, rows_per_rise = math.lcm(subunits, ring) * 2, 2
    rows = subunits * rows_per_rise
    surface = np.zeros((rows, columns))
    for k in range(subunits):
        for copy in range(ring):
            row, column = k * rows_per_rise, (k * turns * columns // subunits + copy * columns // ring) % columns
            if is_dihedral:  # a point off the dyad, and its copy
                surface[(row + 1) % rows, (column + 1) % columns] += 1
                surface[(row - 1) % rows, (column - 1) % columns] += 1
            else:
                surface[row, column] += 1
    transform = np.fft.fft2(surface)
    present = np.argwhere(np.abs(transform) > 1e-9 * surface.sum())
    half_rows, half_columns = rows // 2, columns // 2
    terms = set()
    for row, column in present:
        order = (column + half_columns) % columns - half_columns
        line = -((row + half_rows) % rows - half_rows)  # the term is exp(i(nφ − 2πZz)): Z has the other sign
        if line >= 0 and abs(order) < half_columns and line < half_rows:
            terms.add((int(order), int(line)))
    return terms


HELICES = [(5, 18, 1), (-5, 18, 1), (3, 49, 1), (1, 7, 1), (5, 27, 3), (-2, 9, 6), (1, 2, 2), (0, 1, 4)]


@pytest.mark.parametrize(("turns", "subunits", "ring"), HELICES)
def test_selection_rule_is_that_of_the_transform(turns: int, subunits: int, ring: int) -> None:
    rise_A = 2.5
    repeat_A = subunits * rise_A
    columns = math.lcm(subunits, ring) * 2
    symmetry = HelicalSymmetry(360 * turns / subunits, rise_A, f"C{ring}")
    # Below the grid's Nyquist frequency, half of one per half rise, and below its highest order.
    lines = layer_lines(symmetry, (subunits - 0.5) / repeat_A, columns // 2 - 1)
    ruled = {(line.bessel_order, round(line.freq_per_A * repeat_A)) for line in lines}
    assert ruled == terms_of_an_explicit_helix(turns, subunits, ring)


@pytest.mark.parametrize(("turns", "subunits", "ring"), [(5, 18, 1), (5, 27, 3)])
def test_a_dyad_adds_no_layer_line(turns: int, subunits: int, ring: int) -> None:
    ruled = {
        (line.bessel_order, round(line.freq_per_A * subunits))
        for line in layer_lines(HelicalSymmetry(360 * turns / subunits, 1.0, f"D{ring}"), 1 - 0.5 / subunits, 200)
    }
    assert terms_of_an_explicit_helix(turns, subunits, ring, is_dihedral=True) <= ruled


@given(symmetries)
def test_each_line_obeys_the_rule_and_the_list_is_ordered(symmetry: HelicalSymmetry) -> None:
    lines = layer_lines(symmetry, 0.3, 12)
    for line in lines:
        assert line.bessel_order % symmetry.cyclic_order == 0
        assert 0 <= line.freq_per_A <= 0.3 + 1e-9
        expected = (line.bessel_order * symmetry.twist_deg / 360 + line.branch) / symmetry.rise_A
        assert line.freq_per_A == pytest.approx(expected, abs=1e-9)  # −0 and rounding are written as 0
    heights = [round(line.freq_per_A, 9) for line in lines]
    assert heights == sorted(heights)
    assert len({(line.bessel_order, line.branch) for line in lines}) == len(lines)


@given(symmetries)
def test_equivalent_symmetries_have_the_same_layer_lines(symmetry: HelicalSymmetry) -> None:
    def heights_of(order: int, lines: list[LayerLine]) -> np.ndarray:
        # Lines within rounding of the limits 0 and 0.3 may be listed in one and not in the other.
        heights = np.array([line.freq_per_A for line in lines if line.bessel_order == order])
        return heights[(heights > 1e-6) & (heights < 0.3 - 1e-6)]

    first, *others = symmetry.equivalents()
    lines = layer_lines(first, 0.3, 6)
    for other_lines in (layer_lines(other, 0.3, 6) for other in others):
        for order in range(-6, 7):
            # 6/360 of a twist's 1e-6 degrees, over a rise of at least 1 Å.
            np.testing.assert_allclose(heights_of(order, other_lines), heights_of(order, lines), atol=1e-7)


@given(symmetries)
def test_the_mirror_changes_the_sign_of_every_order(symmetry: HelicalSymmetry) -> None:
    def families(s: HelicalSymmetry, sign: int) -> set[tuple[int, int]]:
        return {(sign * line.bessel_order, round(line.freq_per_A * 1e6)) for line in layer_lines(s, 0.3, 8)}

    # exp(i(nφ − 2πZz)) and its conjugate are one term: on the mirror, (n, Z) becomes (−n, Z).
    assert families(symmetry.mirrored(), 1) == families(symmetry, -1)


def test_tmv_meridional_and_basic_lines() -> None:
    lines = layer_lines(HelicalSymmetry.from_pitch(23.0, 49 / 3), 0.09, 17)
    basic = [line for line in lines if line.bessel_order == 1 and line.branch == 0]
    assert 1 / basic[0].freq_per_A == pytest.approx(23.0)
    # Layer line 1 at three turns' height (69 Å) carries order −16: 49·1 − 3·16 = 1.
    third = [line for line in lines if abs(1 / max(line.freq_per_A, 1e-9) - 69.0) < 1e-6]
    assert [line.bessel_order for line in third] == [-16]


def height_per_A(symmetry: HelicalSymmetry, line: LayerLine) -> float:
    return (line.bessel_order * symmetry.twist_deg / 360 + line.branch) / symmetry.rise_A


@given(symmetries, st.floats(0.001, 0.5), st.booleans())
def test_a_moved_line_lies_where_it_was_asked_to(
    symmetry: HelicalSymmetry, freq_per_A: float, keeps_twist: bool
) -> None:
    for line in layer_lines(symmetry, 0.3, 6):
        if line.freq_per_A < 1e-5:  # on the equator, or too near to be stretched
            continue
        moved = symmetry_with_layer_line(symmetry, line, freq_per_A, keeps_twist=keeps_twist)
        assert height_per_A(moved, line) == pytest.approx(freq_per_A, abs=1e-9)
        if keeps_twist:
            assert moved.twist_deg == symmetry.twist_deg
        elif line.bessel_order:
            assert moved.rise_A == symmetry.rise_A
        else:
            per_pitch = symmetry.twist_deg / symmetry.rise_A
            assert moved.twist_deg / moved.rise_A == pytest.approx(per_pitch, abs=1e-9)


@pytest.mark.parametrize("order", [1, -2, 7, 16])
def test_the_first_maximum_of_a_bessel_function(order: int) -> None:
    radius_A, step_per_A = 60.0, 1e-5
    freq_per_A = np.arange(0, 0.08, step_per_A)
    amplitude = np.abs(jv(order, 2 * np.pi * freq_per_A * radius_A))
    first = np.argmax((amplitude[1:-1] > amplitude[:-2]) & (amplitude[1:-1] > amplitude[2:])) + 1
    assert first_maximum_per_A(order, radius_A) == pytest.approx(freq_per_A[first], abs=step_per_A)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: indexed_lattice(s, (5.0, -5.0)), "z_range_A: found .*lower one first"),
        (lambda s: symmetry_through(s, 0, 0, 10.0, 1.0), "k: found 0; .* Take another point"),
        (lambda s: symmetry_through(s, 3, 0, 10.0, -1.0), "z_A: found -1 for subunit 3; .* above the lattice's origin"),
        (lambda s: symmetry_with_layer_line(s, LayerLine(0.0, 0, 0), 0.1), "line: found order 0, branch 0"),
        (lambda s: symmetry_with_layer_line(s, LayerLine(0.1, 1, 0), 0.0), "freq_per_A: found 0.0"),
        (
            lambda s: symmetry_with_layer_line(HelicalSymmetry(10.0, 5.0, "C3"), LayerLine(0.1, 1, 0), 0.1),
            "C3 allows multiples of 3 only",
        ),
        (lambda s: first_maximum_per_A(1, 0.0), "radius_A: found 0.0"),
        (lambda s: lattice_points(s, -1.0), "half_length_A: found -1.0; it is a length in Å"),
        (lambda s: lattice_points(s, math.nan), "half_length_A: found nan"),
        (lambda s: layer_lines(s, -0.1, 5), "max_freq_per_A: found -0.1; it is a frequency"),
        (lambda s: layer_lines(s, math.inf, 5), "max_freq_per_A: found inf"),
        (lambda s: layer_lines(s, 0.1, -1), "max_bessel_order: found -1; it bounds"),
    ],
)
def test_messages_say_what_was_found_and_what_to_do(call, message: str) -> None:
    with pytest.raises(HelixLabError, match=message):
        call(HelicalSymmetry(22.03, 1.408))
