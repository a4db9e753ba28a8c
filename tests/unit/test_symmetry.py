"""The algebra of helical symmetry, held against groups enumerated by plain matrix products."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, parse_point_group, rotation_about_z, wrap_deg

# Twists on a half-degree grid and few rises, so that equal and nearly related symmetries are drawn often.
grid_twists = st.integers(-1440, 1440).map(lambda n: n / 2)
# Thousandths of a degree: what is nearer than 1e-6 to the seam ±180°/n is moved onto it, which multiples enlarge.
any_twists = st.floats(-720, 720).map(lambda angle_deg: round(angle_deg, 3))
rises_A = st.sampled_from([0.75, 1.408, 2.4, 4.8, 9.15]) | st.floats(0.5, 60)
point_groups = st.sampled_from(["C1", "C2", "C3", "C6", "C7", "D1", "D2", "D5"])
symmetries = st.builds(HelicalSymmetry, grid_twists | any_twists, rises_A, point_groups)

OPERATOR_TOL = 1e-5
"""Largest difference of equal matrix elements (and Å): equality allows 1e-6 of twist or rise, a few steps are taken."""


def enumerated_group(symmetry: HelicalSymmetry, half_length_A: float) -> np.ndarray:
    """Every product of the generators whose shift stays within the window, as 4×4 matrices."""

    def screw(turn_deg: float, shift_A: float) -> np.ndarray:
        c, s = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
        return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, shift_A], [0, 0, 0, 1.0]])

    twist, rise, n = symmetry.twist_deg, symmetry.rise_A, symmetry.cyclic_order
    generators = [screw(twist, rise), screw(-twist, -rise), screw(360 / n, 0)]
    if symmetry.is_dihedral:
        generators.append(np.diag([1.0, -1.0, -1.0, 1.0]))
    found = np.eye(4)[None]
    newest = found
    while len(newest):
        products = (np.array(generators)[:, None] @ newest).reshape(-1, 4, 4)
        products = products[np.abs(products[:, 2, 3]) <= half_length_A + OPERATOR_TOL]
        fresh: list[np.ndarray] = []
        for product in products:
            known = np.concatenate([found, np.array(fresh).reshape(-1, 4, 4)])
            if np.abs(known - product).max(axis=(1, 2)).min() > OPERATOR_TOL:
                fresh.append(product)
        newest = np.array(fresh).reshape(-1, 4, 4)
        found = np.concatenate([found, newest])
    return found


def contains(big: np.ndarray, small: np.ndarray) -> bool:
    distance = np.abs(big[:, None] - small[None]).max(axis=(2, 3))
    return bool((distance.min(axis=0) <= OPERATOR_TOL).all())


def as_matrices(symmetry: HelicalSymmetry, half_length_A: float) -> np.ndarray:
    rotations, shifts_A = symmetry.operators(half_length_A)
    matrices = np.tile(np.eye(4), (len(rotations), 1, 1))
    matrices[:, :3, :3], matrices[:, :3, 3] = rotations, shifts_A
    return matrices


# --- operators ------------------------------------------------------------------------------------


@given(symmetries, st.floats(0, 3.4))
@settings(max_examples=40)
def test_operators_are_the_group_in_the_window(symmetry: HelicalSymmetry, rises_long: float) -> None:
    assume(abs(rises_long - round(rises_long)) > 1e-3)
    window_A = rises_long * symmetry.rise_A
    listed, enumerated = as_matrices(symmetry, window_A), enumerated_group(symmetry, window_A)
    assert len(listed) == len(enumerated)
    assert contains(listed, enumerated)
    assert contains(enumerated, listed)
    assert np.array_equal(listed[0], np.eye(4))


def test_operators_at_the_edge_of_the_window_are_listed() -> None:
    _, shifts_A = HelicalSymmetry(30.0, 0.1).operators(0.3)  # 0.3 / 0.1 is 2.999... in float64
    assert sorted(shifts_A[:, 2].round(6)) == [-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3]


@given(symmetries)
def test_operators_are_proper_rotations(symmetry: HelicalSymmetry) -> None:
    rotations, _ = symmetry.operators(2 * symmetry.rise_A)
    # Sines and cosines of a rounded angle: some ten float64 eps.
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.broadcast_to(np.eye(3), rotations.shape), atol=1e-14
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0, atol=1e-14)


def test_right_handed_means_x_turns_to_y_on_the_way_up() -> None:
    rotations, shifts_A = HelicalSymmetry(90.0, 10.0).operators(10.0)
    up = shifts_A[:, 2] > 0
    np.testing.assert_allclose((rotations @ [1.0, 0.0, 0.0] + shifts_A)[up], [[0.0, 1.0, 10.0]], atol=1e-15)
    np.testing.assert_allclose(rotation_about_z(np.array([90.0]))[0] @ [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], atol=1e-15)


# --- equality -------------------------------------------------------------------------------------


@st.composite
def related_pairs(draw: st.DrawFn) -> tuple[HelicalSymmetry, HelicalSymmetry]:
    """Two symmetries that are equal, or differ in one of the ways that matter."""
    one = draw(st.builds(HelicalSymmetry, grid_twists, rises_A, point_groups))
    n = one.cyclic_order
    other = draw(
        st.sampled_from(
            [
                HelicalSymmetry(one.twist_deg + 360 / n, one.rise_A, one.point_group),
                HelicalSymmetry(one.twist_deg - 2 * 360 / n, one.rise_A, one.point_group),
                HelicalSymmetry(one.twist_deg + 180 / n, one.rise_A, one.point_group),
                HelicalSymmetry(one.twist_deg + 0.5, one.rise_A, one.point_group),
                HelicalSymmetry(one.twist_deg, one.rise_A + 0.01, one.point_group),
                HelicalSymmetry(one.twist_deg, one.rise_A, f"C{n}"),
                HelicalSymmetry(one.twist_deg, one.rise_A, f"D{n}"),
                HelicalSymmetry(one.twist_deg, one.rise_A, f"C{2 * n}"),
                one.mirrored(),
                one.canonical(),
                one.multiple(2),
                *one.equivalents(),
            ]
        )
    )
    return one, other


@given(related_pairs())
@settings(max_examples=60)
def test_equality_is_equality_of_operator_sets(pair: tuple[HelicalSymmetry, HelicalSymmetry]) -> None:
    one, other = pair
    window_A = 1.5 * max(one.rise_A, other.rise_A)
    first, second = enumerated_group(one, window_A), enumerated_group(other, window_A)
    same = contains(first, second) and contains(second, first)
    assert (one == other) is same
    assert (other == one) is same
    assert one.is_equivalent(other) is same


@given(related_pairs())
def test_equal_symmetries_have_equal_hashes(pair: tuple[HelicalSymmetry, HelicalSymmetry]) -> None:
    one, other = pair
    assert one != other or hash(one) == hash(other)
    assert len({one, *one.equivalents()}) == 1


@given(related_pairs())
@settings(max_examples=60)
def test_subgroup_is_containment_of_operator_sets(pair: tuple[HelicalSymmetry, HelicalSymmetry]) -> None:
    one, other = pair
    window_A = 1.5 * max(one.rise_A, other.rise_A)
    first, second = enumerated_group(one, window_A), enumerated_group(other, window_A)
    assert one.is_subgroup_of(other) is contains(second, first)
    assert other.is_subgroup_of(one) is contains(first, second)


def test_published_pairs_are_one_symmetry() -> None:
    empiar_10019 = HelicalSymmetry(29.4, 21.8, "C6")
    assert empiar_10019 == HelicalSymmetry(-30.6, 21.8, "C6")
    assert empiar_10019 != HelicalSymmetry(-30.6, 21.8, "C5")
    assert empiar_10019 != HelicalSymmetry(-30.6, 21.8)
    pf1 = HelicalSymmetry(197.745, 9.15)
    assert pf1 == HelicalSymmetry(-162.255, 9.15)
    assert pf1 != HelicalSymmetry(65.915, 3.05)
    assert HelicalSymmetry(178.92, 4.85, "C2") == HelicalSymmetry(-1.08, 4.85, "C2")  # 6UFR


def test_comparison_with_other_things_is_left_to_them() -> None:
    assert HelicalSymmetry(10.0, 5.0) != (10.0, 5.0)
    assert HelicalSymmetry(10.0, 5.0).__eq__("twist 10") is NotImplemented


def test_tolerances_widen_equality_modulo_the_point_group() -> None:
    deposited, measured = HelicalSymmetry(179.9, 4.75, "C2"), HelicalSymmetry(0.1, 4.8, "C2")
    assert deposited.is_equivalent(measured, twist_tol_deg=0.25, rise_tol_A=0.1)
    assert not deposited.is_equivalent(measured, twist_tol_deg=0.15, rise_tol_A=0.1)
    assert not deposited.is_equivalent(measured, twist_tol_deg=0.25, rise_tol_A=0.01)


# --- the ways to write one symmetry ---------------------------------------------------------------


@given(st.floats(-720, 720), st.integers(1, 12))
def test_wrapped_angle_is_in_the_half_open_period(angle_deg: float, n: int) -> None:
    period = 360 / n
    wrapped = wrap_deg(angle_deg, period)
    assert -period / 2 < wrapped <= period / 2
    turns = (angle_deg - wrapped) / period
    assert abs(turns - round(turns)) * period < 2e-6  # wrap_deg moves what lies within 1e-6 of the seam
    assert wrap_deg(wrapped, period) == wrapped


@given(symmetries)
def test_canonical_form_is_unique_and_final(symmetry: HelicalSymmetry) -> None:
    canonical = symmetry.canonical()
    assert canonical == symmetry
    assert -180 / symmetry.cyclic_order < canonical.twist_deg <= 180 / symmetry.cyclic_order
    again = canonical.canonical()
    assert (again.twist_deg, again.rise_A, again.point_group) == (
        canonical.twist_deg,
        canonical.rise_A,
        canonical.point_group,
    )
    for other in symmetry.equivalents():
        # Within a rounding error of the seam, both ends are the same rotation.
        difference = wrap_deg(other.canonical().twist_deg - canonical.twist_deg, 360 / symmetry.cyclic_order)
        assert abs(difference) < 1e-6


@given(symmetries)
def test_equivalents_are_equal_complete_and_canonical_first(symmetry: HelicalSymmetry) -> None:
    listed = symmetry.equivalents()
    assert listed[0].twist_deg == symmetry.canonical().twist_deg
    assert all(other == symmetry for other in listed)
    twists = [other.twist_deg for other in listed]
    assert all(abs(t) < 360 for t in twists)
    assert len({round(t, 5) for t in twists}) == len(twists)
    # Complete: every shift of the canonical twist by whole periods that lies inside is there.
    period, n = 360 / symmetry.cyclic_order, symmetry.cyclic_order
    expected = [listed[0].twist_deg + j * period for j in range(-3 * n, 3 * n + 1)]
    expected = [t for t in expected if abs(t) < 360 - 1e-5]
    assert all(min(abs(t - u) for u in twists) < 1e-9 for t in expected)


@given(st.floats(0.5, 2000), st.floats(1.01, 500), st.sampled_from([1, -1]))
def test_pitch_round_trip(pitch_A: float, n: float, hand: int) -> None:
    symmetry = HelicalSymmetry.from_pitch(pitch_A, n, hand)
    # Three divisions each way: a few float64 eps.
    assert symmetry.pitch_A == pytest.approx(pitch_A, rel=1e-14)
    assert symmetry.subunits_per_turn == pytest.approx(n, rel=1e-14)
    assert symmetry.hand == hand


def test_pitch_of_published_helices() -> None:
    tmv = HelicalSymmetry.from_pitch(23.0, 49 / 3)  # 49 subunits in three turns
    assert tmv.twist_deg == pytest.approx(22.0408, abs=5e-5)
    assert tmv.rise_A == pytest.approx(1.4082, abs=5e-5)
    straight = HelicalSymmetry(0.0, 4.8)
    assert (straight.pitch_A, straight.subunits_per_turn, straight.hand) == (math.inf, math.inf, 0)


@given(symmetries)
def test_mirror_is_an_involution_and_mirrors_every_operator(symmetry: HelicalSymmetry) -> None:
    mirror = symmetry.mirrored()
    assert mirror.mirrored() == symmetry
    assert mirror.hand == -symmetry.hand
    # Mirroring in the plane y = 0, which holds the axis and the dyad.
    flip = np.diag([1.0, -1.0, 1.0, 1.0])
    window_A = 2.5 * symmetry.rise_A
    assert contains(flip @ as_matrices(symmetry, window_A) @ flip, as_matrices(mirror, window_A))


# --- multiples, generators, strands ---------------------------------------------------------------


@given(symmetries, st.integers(1, 7))
def test_multiples_are_subgroups(symmetry: HelicalSymmetry, k: int) -> None:
    multiple = symmetry.multiple(k)
    assert multiple.is_subgroup_of(symmetry)
    assert (multiple == symmetry) is (k == 1)
    assert symmetry.is_subgroup_of(multiple) is (k == 1)
    window_A = 1.5 * multiple.rise_A
    assert contains(as_matrices(symmetry, window_A), as_matrices(multiple, window_A))


@given(symmetries, st.integers(1, 30), st.integers(1, 30))
def test_coprime_multiples_generate_the_symmetry(symmetry: HelicalSymmetry, j: int, k: int) -> None:
    assume(math.gcd(j, k) == 1)
    # Multiples up to 30 carry 30 times the rounding error of a twist; Euclid's steps multiply it by at most 30 more.
    generated = HelicalSymmetry.from_generators(symmetry.multiple(j), symmetry.multiple(k))
    assert generated.is_equivalent(symmetry, twist_tol_deg=1e-6, rise_tol_A=1e-6)


@given(symmetries, st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
def test_multiples_with_a_common_divisor_generate_its_multiple(
    symmetry: HelicalSymmetry, d: int, j: int, k: int
) -> None:
    assume(math.gcd(j, k) == 1)
    generated = HelicalSymmetry.from_generators(symmetry.multiple(d * j), symmetry.multiple(d * k))
    assert generated == symmetry.multiple(d)


def test_generators_that_differ_by_a_rotation_make_a_ring() -> None:
    generated = HelicalSymmetry.from_generators(HelicalSymmetry(-30.6, 21.8), HelicalSymmetry(29.4, 21.8))
    assert generated == HelicalSymmetry(29.4, 21.8, "C6")
    assert generated.twist_deg == pytest.approx(29.4)
    mixed = HelicalSymmetry.from_generators(HelicalSymmetry(10.0, 5.0, "C2"), HelicalSymmetry(10.0, 5.0, "D3"))
    assert mixed == HelicalSymmetry(10.0, 5.0, "D6")


def test_generators_read_from_a_map_agree_within_the_given_tolerance() -> None:
    # The 16- and 17-start of TMV (352.48°, 22.528 Å; 14.51°, 23.936 Å), misread by up to 0.12° and 0.004 Å. The
    # one-start is their difference; retracing the 16-start with it multiplies the errors by 16: 2.2° and 0.03 Å.
    read = [HelicalSymmetry(352.6, 22.53), HelicalSymmetry(14.5, 23.94)]
    found = HelicalSymmetry.from_generators(*read, twist_tol_deg=3.0, rise_tol_A=0.05)
    assert found.is_equivalent(HelicalSymmetry(21.9, 1.41), rise_tol_A=1e-5, twist_tol_deg=1e-5)


@given(symmetries, st.integers(1, 6))
@settings(max_examples=50)
def test_reductions_contain_the_strand_and_have_n_strands(strand: HelicalSymmetry, n_start: int) -> None:
    reductions = strand.one_start_reductions(n_start)
    assert reductions[0].point_group[1:] == str(strand.cyclic_order * n_start)
    for found in reductions:
        assert strand.is_subgroup_of(found)
        # Index n: per length along the axis there are n times as many operators.
        density = (found.cyclic_order / found.rise_A) / (strand.cyclic_order / strand.rise_A)
        assert density == pytest.approx(n_start)
    assert not any(a == b for i, a in enumerate(reductions) for b in reductions[:i])
    assert len(reductions) == sum(n_start // c for c in range(1, n_start + 1) if n_start % c == 0)


def test_two_stranded_amyloid_reduces_to_a_ring_or_a_pseudo_screw() -> None:
    ring, _, screw = HelicalSymmetry(-1.2, 4.8).one_start_reductions(2)
    assert ring == HelicalSymmetry(-1.2, 4.8, "C2")
    assert screw == HelicalSymmetry(179.4, 2.4)


# --- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parsed"), [("C1", ("C", 1)), ("c12", ("C", 12)), (" d3 ", ("D", 3)), ("D1", ("D", 1))]
)
def test_point_group_names(name: str, parsed: tuple[str, int]) -> None:
    assert parse_point_group(name) == parsed
    assert HelicalSymmetry(1.0, 1.0, name).point_group == f"{parsed[0]}{parsed[1]}"


@pytest.mark.parametrize("name", ["", "C", "C0", "T", "O", "I1", "S2", "C-1", "C1.5", "D02", "6"])
def test_other_point_groups_are_refused(name: str) -> None:
    with pytest.raises(HelixLabError, match=r"point group: found .*; a helix has Cn .* or Dn .*Write e\.g\. C1"):
        HelicalSymmetry(1.0, 1.0, name)


def test_text_form_gives_all_three() -> None:
    assert str(HelicalSymmetry(-101.1, 5.13, "D1")) == "twist -101.100°, rise 5.130 Å, D1"


_GOOD = HelicalSymmetry(22.03, 1.408)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: HelicalSymmetry(math.nan, 1.0), "twist_deg: found nan; the twist is a finite angle"),
        (lambda: HelicalSymmetry(math.inf, 1.0), "twist_deg: found inf"),
        (lambda: HelicalSymmetry(1.0, 0.0), "rise_A: found 0.0; the rise is a positive length"),
        (lambda: HelicalSymmetry(1.0, -4.8), "For a left-handed helix make the twist negative, not the rise"),
        (lambda: HelicalSymmetry(1.0, math.nan), "rise_A: found nan"),
        (lambda: HelicalSymmetry.from_pitch(23.0, 16.0, 0), "hand: found 0; write 1 for a right-handed helix"),
        (lambda: HelicalSymmetry.from_pitch(23.0, 0.0), "subunits_per_turn: found 0.0; it must be a positive"),
        (lambda: HelicalSymmetry.from_pitch(23.0, math.inf), "subunits_per_turn: found inf"),
        (lambda: HelicalSymmetry.from_pitch(-1.0, 16.0), "pitch_A: found -1.0; the pitch is a positive length"),
        (lambda: HelicalSymmetry.from_pitch(math.nan, 16.0), "pitch_A: found nan"),
        (lambda: _GOOD.multiple(0), "multiple: found k = 0; it counts subunits and starts at 1"),
        (lambda: _GOOD.one_start_reductions(0), "n_start: found 0; it counts strands and starts at 1"),
        (lambda: _GOOD.operators(-1.0), "half_length_A: found -1.0; it is a length in Å, 0 or more"),
        (lambda: _GOOD.operators(math.inf), "half_length_A: found inf"),
        (lambda: HelicalSymmetry.from_generators(), "from_generators: found no generator; give at least one"),
        (
            lambda: HelicalSymmetry.from_generators(HelicalSymmetry(0, 1.0), HelicalSymmetry(0, math.sqrt(2))),
            "from_generators: the rises have no common divisor",
        ),
        (
            lambda: HelicalSymmetry.from_generators(HelicalSymmetry(0, 5.0), HelicalSymmetry(math.sqrt(2), 5.0)),
            r"from_generators: they generate a rotation by -?1\.4142°, which is no whole fraction of a turn",
        ),
    ],
)
def test_messages_say_what_was_found_and_what_to_do(call, message: str) -> None:
    with pytest.raises(HelixLabError, match=message):
        call()
