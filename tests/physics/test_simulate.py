"""Simulated filaments: exact densities, exact symmetry, and the symmetry of real models."""

import numpy as np
import pytest

from helixlab.geometry import HelicalSymmetry, Volume, axis_coordinates, rotation_about_z
from helixlab.simulate import (
    AtomicUnit,
    builtin_unit,
    fit_screw,
    read_atomic_unit,
    signal_to_noise,
    simulate_helix,
)
from helixlab.simulate.density import band_limit_per_A, density_on_grid, form_factor, lowpass_weights
from helixlab.simulate.noise import soft_cylinder
from helixlab.validate import compute_fsc


def reference_density(points_A, xyz_A, elements, longest_A, *, pixel_size_A, resolution_A, b_factor_A2):
    """The same density from its definition: Σ_a ∫ f(s) exp(−Bs²/4) LP(s) sinc(2sr) 4πs² ds, tabulated in r."""
    s = np.linspace(0, band_limit_per_A(resolution_A, pixel_size_A), 601)
    r = np.arange(0.0, longest_A, 0.025)
    total = np.zeros(len(points_A))
    for element in np.unique(elements):
        weight = form_factor(str(element), s) * np.exp(-b_factor_A2 * s**2 / 4)
        weight *= lowpass_weights(s, resolution_A, pixel_size_A) * 4 * np.pi * s**2
        weight[[0, -1]] *= 0.5
        table = np.sinc(2 * r[:, None] * s) @ weight * (s[1] - s[0])
        atoms = xyz_A[elements == element]
        for i, point in enumerate(points_A):
            total[i] += np.interp(np.linalg.norm(atoms - point, axis=1), r, table).sum()
    return total


@pytest.mark.parametrize("b_factor_A2", [0.0, 60.0])
def test_density_is_the_sum_of_atoms(b_factor_A2):
    rng = np.random.default_rng(3)
    xyz, elements = rng.uniform(-14, 14, (40, 3)), np.array(["C", "N", "O", "S", "P"] * 8)
    shape, settings = (30, 31, 33), {"pixel_size_A": 1.2, "resolution_A": 3.0, "b_factor_A2": b_factor_A2}
    made = density_on_grid(xyz, elements, np.ones(40), shape=shape, padding_px=(60, 60, 60), **settings)
    index = np.stack([rng.integers(0, n, 60) for n in shape], 1)
    points = np.stack([axis_coordinates(n, 1.2)[i] for n, i in zip(shape[::-1], index.T[::-1], strict=True)], 1)
    expected = reference_density(points, xyz, elements, 60.0, **settings)
    # Spreading: 1e-6. The linear table: (0.025 Å)²/8·|k″| with k″ = 0.2 Å⁻² at an atom's centre, 5e-4 of std. Tails of
    # the periodic images, 150 Å away: 1e-4.
    assert np.abs(made[tuple(index.T)] - expected).max() < 2e-3 * made.std()


@pytest.mark.parametrize(("b_factor_A2", "tilt_deg"), [(10.0, 0.0), (None, 0.0), (None, 3.0)])
def test_map_repeats_under_its_symmetry(b_factor_A2, tilt_deg):
    """Voxels against the density at their images under operators, evaluated there without interpolation.

    A small B is the hard case: sampled in real space it aliases, and the correlation falls to 0.9.
    """
    symmetry, px, box = HelicalSymmetry(22.03, 3.7), 1.4, 72
    unit = builtin_unit(symmetry)
    offset_px = (4.0, -2.5)
    made = simulate_helix(
        unit, symmetry, box=box, pixel_size_A=px, resolution_A=4.0, b_factor_A2=b_factor_A2, outer_radius_A=44,
        offset_px=(0.0, 0.0) if not tilt_deg else offset_px, tilt_deg=tilt_deg, tilt_azimuth_deg=90.0,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    index = np.stack([rng.integers(0, box, 150), *rng.integers(18, box - 18, (2, 150))], 1)
    points = axis_coordinates(box, px)[index[:, ::-1]]
    # In the frame of the axis: back by the offset, then a tilt about x of −3° undone (upper end towards +y).
    t = np.deg2rad(tilt_deg)
    lean = np.array([[1, 0, 0], [0, np.cos(t), np.sin(t)], [0, -np.sin(t), np.cos(t)]])
    centre = np.array([*offset_px, 0]) * px if tilt_deg else np.zeros(3)
    turned = (points - centre) @ lean @ rotation_about_z(np.array([3 * symmetry.twist_deg]))[0].T
    turned = turned + np.array([0, 0, 3 * symmetry.rise_A])
    rotations, shifts = symmetry.operators(170.0)
    xyz = (np.einsum("kij,nj->kni", rotations, unit.xyz_A) + shifts[:, None]).reshape(-1, 3)
    expected = reference_density(
        turned, xyz, np.tile(unit.elements, len(rotations)), 260.0, pixel_size_A=px, resolution_A=4.0,
        b_factor_A2=made.b_factor_A2,
    )  # fmt: skip
    values = made.volume.data[tuple(index.T)]
    assert np.corrcoef(values, expected)[0, 1] > 0.9999


def test_ends_of_the_box_are_those_of_an_endless_filament():
    symmetry = HelicalSymmetry(-101.1, 5.13)
    long = simulate_helix("builtin", symmetry, box=(140, 72, 72), pixel_size_A=1.5, resolution_A=4.0)
    short = simulate_helix("builtin", symmetry, box=(40, 72, 72), pixel_size_A=1.5, resolution_A=4.0)
    ratio = short.truth.data / long.truth.data[50:90]
    scale = np.median(ratio)
    # The low-pass's tails reach beyond the margin: 1% of the map's standard deviation in the worst voxel.
    assert np.abs(short.truth.data / scale - long.truth.data[50:90]).max() < 0.01


def test_moving_the_atoms_moves_the_map():
    symmetry = HelicalSymmetry(60.0, 9.0)
    options = {"box": 49, "pixel_size_A": 2.4, "resolution_A": 7.0}
    unit = builtin_unit(symmetry)
    quarter = AtomicUnit(unit.xyz_A @ rotation_about_z(np.array([90.0]))[0].T + np.array([0, 0, 2.4]), unit.elements)
    still = simulate_helix(unit, symmetry, **options).volume.data
    moved = simulate_helix(quarter, symmetry, **options).volume.data
    # x → y is axis 2 → axis 1 of the array. 0.01: the ends' margin, as above.
    np.testing.assert_allclose(moved[1:], np.rot90(still, -1, (1, 2))[:-1], atol=0.01)
    shifted = simulate_helix(unit, symmetry, offset_px=(2, -1), **options).volume.data
    np.testing.assert_allclose(shifted[:, :-1, 2:], still[:, 1:, :-2], atol=0.01)


def test_builtin_structure_is_chiral():
    for symmetry in (HelicalSymmetry(22.03, 1.408), HelicalSymmetry(179.6, 2.4), HelicalSymmetry(29.4, 21.8, "C6")):
        unit = builtin_unit(symmetry)
        mirror = AtomicUnit(unit.xyz_A * [1, -1, 1], unit.elements)
        options = {"box": 64, "pixel_size_A": 1.6, "resolution_A": 5.0}
        a = simulate_helix(unit, symmetry, **options).volume.data
        b = simulate_helix(mirror, symmetry.mirrored(), **options).volume.data
        # The mirror about y of a map is that of the mirrored atoms; row 0 has no partner in an even box.
        np.testing.assert_allclose(b[:, 1:], a[:, :0:-1], atol=0.01)
        c = simulate_helix(mirror, symmetry, **options).volume.data
        best = max(np.corrcoef(a.ravel(), np.rot90(c, k, (1, 2)).ravel())[0, 1] for k in range(4))
        assert best < 0.95


# --- real models ------------------------------------------------------------------------------------------

MEASURED = {
    # Model: twist, rise, n, axis, as listed with the data.
    "6a6b.pdb": (179.630, 2.404, 1, (131.89, 132.14)),
    "5oqv.pdb": (179.285, 2.342, 1, (54.25, 54.23)),
    "6ufr_origin_5layers.pdb": (-1.070, 4.845, 2, (0.0, 0.0)),
    "7qv5_bfacreplaced.pdb.gz": (-1.140, 4.860, 3, (139.40, 139.40)),
    "tau_PHF_filamenttools.cif.gz": (179.476, 2.378, 1, (158.22, 158.26)),
    "tau_intermediate_filamenttools.pdb.gz": (176.884, 2.365, 1, (219.0, 219.2)),
}


@pytest.mark.parametrize("name", MEASURED)
def test_screw_of_real_models(data_dir, name):
    twist_deg, rise_A, order, axis_xy_A = MEASURED[name]
    fit = fit_screw(data_dir / "models" / name)
    # The listed values are another program's; chains deviate from the ideal helix by rms_A (0.2 Å or less), which
    # leaves 0.003 Å in the rise (ends against least squares, over 12 chains) and 0.3 Å in the axis.
    assert abs(fit.twist_deg - twist_deg) < 0.003
    assert abs(fit.rise_A - rise_A) < 0.004
    assert fit.cyclic_order == order
    np.testing.assert_allclose(fit.axis_xy_A, axis_xy_A, atol=0.3)
    assert fit.rms_A < 0.2
    assert fit.axis_direction[2] > 0.99999


H = HelicalSymmetry
UNITS = [
    ("4udv.pdb", H(22.03, 1.408), ("A", "R")),
    ("1ql2.cif", H(197.745, 9.15), ("A", "B", "C")),
    ("1ql2.cif", H(65.915, 3.05), 1),
    ("6a6b.pdb", H(179.641, 2.393), 1),
    ("6a6b.pdb", H(-0.718, 4.786), 2),
    ("5oqv.pdb", H(179.269, 2.327), 1),
    ("5oqv.pdb", H(-179.275, 2.335), 1),
    ("6ufr_origin_5layers.pdb", H(178.92, 4.85, "C2"), 1),
    ("6ufr_origin_5layers.pdb", H(-1.08, 4.85), 2),
    ("7qv5_bfacreplaced.pdb.gz", H(-1.14, 4.86, "C3"), 2),
    ("tau_PHF_filamenttools.cif.gz", H(179.4, 2.36), 1),
]


@pytest.mark.parametrize(("name", "symmetry", "chains"), UNITS)
def test_asymmetric_unit_of_real_models(data_dir, name, symmetry, chains):
    unit = read_atomic_unit(data_dir / "models" / name, symmetry=symmetry)
    assert unit.chains == chains if isinstance(chains, tuple) else len(unit.chains) == chains
    assert unit.outer_radius_A < 95  # about the axis: TMV, the widest, has an outer radius of 90 Å


@pytest.mark.parametrize(
    ("map_name", "model", "symmetry", "b_factor_A2", "resolution_A", "chains"),
    [
        ("asyn_6a6b_4A_128px_1.2A", "6a6b.pdb", H(179.641, 2.393), 80.0, 4.0, ("I",)),
        ("tmv_4udv_5A_128px_1.7A", "4udv.pdb", H(22.03, 1.408), 130.0, 5.0, None),
    ],
)
def test_agrees_with_an_independent_program(data_dir, map_name, model, symmetry, b_factor_A2, resolution_A, chains):
    mrcfile = pytest.importorskip("mrcfile")
    with mrcfile.open(data_dir / "generated" / f"{map_name}.mrc.gz") as mrc:
        theirs, px = mrc.data.copy(), round(float(mrc.voxel_size.x), 3)
    unit = read_atomic_unit(data_dir / "models" / model, symmetry=symmetry, chains=chains)
    inside = theirs[52:76] != 0
    best = 0.0
    for shift_A in np.arange(0, symmetry.rise_A, 0.7):  # where the other program put the unit along z is not known
        moved = AtomicUnit(unit.xyz_A + np.array([0, 0, shift_A]), unit.elements)
        ours = simulate_helix(
            moved, symmetry, box=(48, 128, 128), pixel_size_A=px, resolution_A=resolution_A, b_factor_A2=b_factor_A2
        ).truth.data
        shifted = (ours[12 + k : 36 + k] for k in range(-12, 13))
        best = max(best, *(np.corrcoef(m[inside], theirs[52:76][inside])[0, 1] for m in shifted))
    # Steps of 0.7 Å along z and another low-pass edge: 0.999 at the best fit.
    assert best > 0.995


# --- noise ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fsc_resolution_A", [6.0, 8.0])
def test_half_maps_have_the_expected_fsc(fsc_resolution_A):
    symmetry, px, box = HelicalSymmetry(22.03, 1.408), 1.7, 96
    made = simulate_helix(
        "builtin", symmetry, box=box, pixel_size_A=px, resolution_A=4.5, fsc_resolution_A=fsc_resolution_A, seed=1
    )
    expected_A = made.noise.fsc_resolution_A
    assert expected_A is not None
    assert abs(np.log(expected_A / fsc_resolution_A)) < 0.2  # some resolutions lie within a jump
    x = axis_coordinates(box, px)
    distance_A = np.broadcast_to(np.hypot(x[:, None], x), (box,) * 3)
    mask = soft_cylinder(distance_A, made.outer_radius_A, 5 * px, px)
    freq_per_A, ratio = signal_to_noise(made.truth, mask)
    expected = 1 / (1 + made.noise.sd**2 / ratio)
    assert made.half1 is not None
    assert made.half2 is not None
    curve = compute_fsc(made.half1, made.half2, mask=Volume(mask, px)).curve("mask")
    difference = np.interp(freq_per_A, curve.freq_per_A, curve.fsc) - expected
    # Shell k of a masked transform holds about 2πk²·(filled fraction 0.17) independent terms, each FSC scatters by
    # one over their root: 0.14 at k = 7, 0.03 at k = 30.
    scatter = 1 / np.sqrt(2 * np.pi * np.arange(7, 36) ** 2 * 0.17)
    assert np.sqrt(np.mean((difference[7:36] / scatter) ** 2)) < 1.5
    assert abs(np.mean(difference[7:36])) < 0.03


def test_noise_is_white_and_independent():
    symmetry = HelicalSymmetry(60.0, 9.0)
    made = simulate_helix("builtin", symmetry, box=64, pixel_size_A=2.0, resolution_A=6.0, noise=1.5, seed=4)
    noise = [half.data - made.truth.data for half in (made.half1, made.half2)]
    n = noise[0].size
    for field in noise:
        assert abs(field.std() - 1.5) < 1.5 * 4 / np.sqrt(2 * n)  # standard error of a standard deviation, 4 of them
        assert abs(np.corrcoef(field[:, :, 1:].ravel(), field[:, :, :-1].ravel())[0, 1]) < 4 / np.sqrt(n)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 4 / np.sqrt(n)
    np.testing.assert_allclose(made.volume.data, (made.half1.data + made.half2.data) / 2, atol=1e-6)
    x = axis_coordinates(64, 2.0)
    inside = np.broadcast_to(np.hypot(x[:, None], x) <= made.outer_radius_A, (64,) * 3)
    assert abs(made.truth.data[inside].std() - 1) < 1e-4  # float32
