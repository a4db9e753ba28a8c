"""Segments against an independent float64 projector: atoms as Gaussians, each placed and projected by formula."""

import json
from pathlib import Path

import numpy as np
import pytest

from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.io import ParticleStack, filament_direction_error_deg, read_particles
from helixlab.io.images import ImageSource
from helixlab.simulate import OpticsSettings, ParticleSettings, SimulatedParticles, simulate_particles
from helixlab.simulate.filaments import draw_filament
from helixlab.simulate.micrographs import noise_transform
from helixlab.simulate.strips import StripProjector

PIXEL_A, BOX, SIGMA_A, RADIUS_A = 2.0, 64, 3.0, 36.0
SYMMETRY = HelicalSymmetry(-101.1, 5.13)
GEOMETRY = ParticleSettings(
    n_filaments=4,
    segments_per_filament=4,
    filaments_per_micrograph=2,
    box_px=BOX,
    pixel_size_A=PIXEL_A,
    outer_radius_A=RADIUS_A,
    defocus_range_A=None,
    optics=(OpticsSettings(snr=None),),
    tilt_sd_deg=3.0,
    bend_deg_per_um=0.0,
    tilt_bend_deg_per_um=0.0,
    seed=1,
)


def helix_atoms(half_length_A: float) -> np.ndarray:
    """Eight atoms a subunit, copied by Rz(k·twist) and k·rise; chiral and without a second axis."""
    rng = np.random.default_rng(0)
    radius, phi, z = rng.uniform(6, 20, 8), rng.uniform(0, 2, 8), rng.uniform(-8, 8, 8)
    k = np.arange(-int(half_length_A / SYMMETRY.rise_A) - 1, int(half_length_A / SYMMETRY.rise_A) + 2)[:, None]
    turned = phi + np.deg2rad(SYMMETRY.twist_deg) * k
    copies = np.stack([radius * np.cos(turned), radius * np.sin(turned), z + SYMMETRY.rise_A * k], -1)
    return copies.reshape(-1, 3)


def gaussian_sum(points_A: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """A Gaussian about each point, on a grid whose origin is pixel n // 2; points have the axes of ``sizes``."""
    factors = [
        np.exp(-0.5 * (((np.arange(n) - n // 2) * PIXEL_A)[:, None] - points_A[:, axis]) ** 2 / SIGMA_A**2)
        for axis, n in enumerate(sizes)
    ]
    return np.einsum("xa,ya->xy" if len(sizes) == 2 else "xa,ya,za->xyz", *factors, optimize=True)


def project(points_A: np.ndarray, size: int) -> np.ndarray:
    """Line integrals in units of pixels, rows y and columns x, of atoms at (x, y)."""
    return gaussian_sum(points_A[:, ::-1], (size, size)) * np.sqrt(2 * np.pi) * SIGMA_A / PIXEL_A


@pytest.fixture(scope="module")
def volume() -> Volume:
    atoms = helix_atoms(180.0)[:, ::-1]
    return Volume(gaussian_sum(atoms, (132, 44, 44)).astype(np.float32), PIXEL_A)


@pytest.fixture(scope="module")
def straight(volume: Volume, tmp_path_factory: pytest.TempPathFactory) -> SimulatedParticles:
    return simulate_particles(volume, SYMMETRY, tmp_path_factory.mktemp("straight"), GEOMETRY)


def read_truth(made: SimulatedParticles) -> tuple[ParticleStack, np.ndarray]:
    truth = read_particles(made.files["truth_star"])
    return truth, ImageSource(truth).read_batch(np.arange(len(truth)))


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - expected) ** 2)) / expected.std())


def test_true_poses_project_to_the_images(straight: SimulatedParticles) -> None:
    """RELION's angles and origins, read from truth.star, written out once more here (ZYZ, frame rotations)."""
    truth, images = read_truth(straight)
    assert {f.is_flipped for f in straight.filaments} == {True, False}
    atoms = helix_atoms(110.0)
    for i in range(len(truth)):
        rot, tilt, psi = np.deg2rad([truth.rot_deg[i], truth.tilt_deg[i], truth.psi_deg[i]])
        x, y, z = atoms.T
        x, y = np.cos(rot) * x + np.sin(rot) * y, np.cos(rot) * y - np.sin(rot) * x
        x = np.cos(tilt) * x - np.sin(tilt) * z
        x, y = np.cos(psi) * x + np.sin(psi) * y, np.cos(psi) * y - np.sin(psi) * x
        seen = np.stack([x - truth.shift_x_A[i], y - truth.shift_y_A[i]], 1)
        # Kernel errors are 1e-5; the map's Gaussians hold exp(-½(2π·3/4)²) = 1.5e-5 at Nyquist.
        assert relative_error(images[i], project(seen, BOX)) < 1e-4


def test_bent_filament_agrees_with_its_atoms_on_the_curve(volume: Volume) -> None:
    settings = GEOMETRY.model_copy(update={"bend_deg_per_um": 10.0, "tilt_bend_deg_per_um": 20.0, "seed": 5})
    filament = draw_filament(1, settings)
    assert abs(filament.bend_deg_per_A) > 5e-4
    image = StripProjector(volume, SYMMETRY, RADIUS_A, 15.0).project(filament, 192)
    x, y, z = helix_atoms(400.0).T
    rot = np.deg2rad(filament.rot_deg)
    x, y = np.cos(rot) * x + np.sin(rot) * y, np.cos(rot) * y - np.sin(rot) * x
    # Where the helical axis is z long the trace is u long: ds = du / sin(tilt), here by many small steps.
    u = np.linspace(-420.0, 420.0, 84_001)
    lean = np.deg2rad(filament.tilt_deg + filament.tilt_rate_deg_per_A * u)
    s = np.cumsum(1 / np.sin(lean)) * (u[1] - u[0])
    at = np.interp(z, s - np.interp(0.0, u, s), u)
    ahead = at - np.cos(np.interp(at, u, lean)) * x
    # A circle through the origin; the atom lies y to the right of it.
    bend, start = np.deg2rad(filament.bend_deg_per_A), np.deg2rad(filament.direction_deg)
    angle = start + bend * ahead
    on_circle = np.stack([np.sin(angle) - np.sin(start), np.cos(start) - np.cos(angle)], 1) / bend
    expected = project(on_circle + y[:, None] * np.stack([np.sin(angle), -np.cos(angle)], 1), 192)
    # The bend stretches each Gaussian by its distance from the axis over the bend's radius, here up to 4e-4.
    assert relative_error(image[24:-24, 24:-24], expected[24:-24, 24:-24]) < 1e-3


def test_neighbours_advance_by_the_helix(straight: SimulatedParticles) -> None:
    """From one reference to the next along +z: m rises of axis, and m twists less of rot."""
    truth, _ = read_truth(straight)
    centre_A = PIXEL_A * np.stack([truth.coordinate_x_px, truth.coordinate_y_px], 1)
    reference_A = centre_A - np.stack([truth.shift_x_A, truth.shift_y_A], 1)
    psi = np.deg2rad(truth.psi_deg)
    axis = np.stack([-np.cos(psi), np.sin(psi)], 1)
    for filament in straight.filaments:
        rows = np.flatnonzero(truth.filament_id == filament.number)
        step_A = np.sum(np.diff(reference_A[rows], axis=0) * axis[rows[:-1]], axis=1)
        rises = step_A / (SYMMETRY.rise_A * np.sin(np.deg2rad(truth.tilt_deg[rows[0]])))
        m = np.rint(rises)
        assert np.abs(rises - m).max() < 1e-5  # six decimals of Å and degrees in the table
        assert (np.sign(m) == (-1 if filament.is_flipped else 1)).all()
        turn = np.diff(truth.rot_deg[rows]) + m * SYMMETRY.twist_deg
        assert np.abs((turn + 180) % 360 - 180).max() < 1e-5
        # On a straight filament the step is the distance of the boxes, within picking errors and half a rise.
        assert np.abs(np.abs(step_A) - 25.0).max() < 4 * np.sqrt(2) * 2.0 + SYMMETRY.rise_A + PIXEL_A


def test_priors_know_the_direction_but_not_the_polarity(straight: SimulatedParticles) -> None:
    user, truth = read_particles(straight.files["star"]), straight.truth
    assert user.rot_deg is None
    assert user.shift_x_A is None
    assert user.half_set is None
    off = (user.psi_prior_deg - truth.psi_deg + 180) % 360 - 180
    is_flipped = np.array([straight.filaments[f].is_flipped for f in truth.filament_id])
    assert np.abs(np.abs(off) - 180 * is_flipped).max() < 5  # five standard errors of the prior
    assert np.unique(user.psi_flip_ratio).tolist() == [0.5]
    assert np.unique(user.tilt_prior_deg).tolist() == [90.0]
    # Four boxes in 75 Å with errors of 3 Å across: the line through them is good to 3/(25·√5) rad.
    assert np.median(filament_direction_error_deg(user)) < 3 * np.rad2deg(3 / (25 * np.sqrt(5)))
    for filament in range(4):
        assert user.track_length_A[user.filament_id == filament].tolist() == [0.0, 25.0, 50.0, 75.0]
        assert len(np.unique(truth.half_set[truth.filament_id == filament])) == 1


def test_both_tables_say_the_same(straight: SimulatedParticles) -> None:
    star, cs = read_particles(straight.files["star"]), read_particles(straight.files["cs"])
    for name in ("psi_prior_deg", "tilt_prior_deg", "track_length_A", "coordinate_x_px", "filament_id"):
        np.testing.assert_allclose(getattr(cs, name), getattr(star, name), atol=1e-3)  # float32 radians and fractions
    assert np.unique(cs.inter_box_distance_A).tolist() == [25.0]


def test_truth_is_written_apart(straight: SimulatedParticles) -> None:
    values = json.loads(straight.files["truth_json"].read_text("utf-8"))
    assert (values["twist_deg"], values["rise_A"], values["point_group"]) == (-101.1, 5.13, "C1")
    assert ParticleSettings(**values["settings"]) == GEOMETRY
    assert [f["is_flipped"] for f in values["filaments"]] == [f.is_flipped for f in straight.filaments]
    assert straight.files["map"].parent.name == "truth"


def test_ctf_and_noise(volume: Volume, tmp_path: Path) -> None:
    """The same geometry without noise, with CTF, and with noise: signs, SNR, optics groups."""
    snr = 0.5
    optics = (
        OpticsSettings(snr=snr, bfactor_A2=20.0),
        OpticsSettings(snr=snr, phase_shift_deg=90.0, voltage_kV=200.0, noise_at_nyquist=1.0, solvent_noise=0.0),
    )
    update = {"n_filaments": 4, "defocus_range_A": (6_000.0, 9_000.0), "astigmatism_A": 900.0}
    settings = GEOMETRY.model_copy(update={**update, "optics": optics})
    quiet = tuple(group.model_copy(update={"snr": None}) for group in optics)
    noisy = simulate_particles(volume, SYMMETRY, tmp_path / "noisy", settings)
    clean = simulate_particles(volume, SYMMETRY, tmp_path / "clean", settings.model_copy(update={"optics": quiet}))
    truth, signal = read_truth(clean)
    noisy_truth, images = read_truth(noisy)
    np.testing.assert_array_equal(noisy_truth.rot_deg, truth.rot_deg)

    # The CTF, by formula in float64 on a larger patch: positive for bright protein, underfocus positive.
    wide = 3 * BOX
    for i in (0, -1):
        group = truth.optics_group[i]
        volts = 1e3 * truth.optics.voltage_kV[group]
        wavelength = 12.2643247 / np.sqrt(volts * (1 + volts * 0.978466e-6))
        ky, kx = np.meshgrid(np.fft.fftfreq(wide, PIXEL_A), np.fft.rfftfreq(wide, PIXEL_A), indexing="ij")
        u, v = truth.defocus_u_A[i], truth.defocus_v_A[i]
        angle = 2 * (np.arctan2(ky, kx) - np.deg2rad(truth.defocus_angle_deg[i]))
        k2 = kx**2 + ky**2
        chi = np.pi * wavelength * k2 * 0.5 * (u + v + (u - v) * np.cos(angle))
        chi += np.deg2rad(truth.phase_shift_deg[i]) + np.arcsin(0.1) - 0.5 * np.pi * 2.7e7 * wavelength**3 * k2**2
        ctf = np.sin(chi) * np.exp(-truth.ctf_bfactor_A2[i] / 4 * k2)
        rot, tilt, psi = np.deg2rad([truth.rot_deg[i], truth.tilt_deg[i], truth.psi_deg[i]])
        x, y, z = helix_atoms(260.0).T
        x, y = np.cos(rot) * x + np.sin(rot) * y, np.cos(rot) * y - np.sin(rot) * x
        x = np.cos(tilt) * x - np.sin(tilt) * z
        x, y = np.cos(psi) * x + np.sin(psi) * y, np.cos(psi) * y - np.sin(psi) * x
        patch = project(np.stack([x - truth.shift_x_A[i], y - truth.shift_y_A[i]], 1), wide)
        expected = np.fft.irfft2(np.fft.rfft2(patch) * ctf, (wide, wide))[BOX:-BOX, BOX:-BOX]
        # What the patches' edges, where the filament is cut, spread into the box.
        assert relative_error(signal[i], expected) < 5e-3

    # An image of signal and noise correlates with its signal by 1/√(1 + 1/SNR).
    rows = signal.reshape(len(signal), -1), images.reshape(len(images), -1)
    correlation = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(*rows, strict=True)])
    for group in range(2):
        mine = correlation[truth.optics_group == group]
        # 48² pixels of noise whose spectrum falls count as 1000; 8 images: 0.03/√8, and SNRs differ by defocus.
        assert mine.mean() == pytest.approx(1 / np.sqrt(1 + 1 / snr), abs=0.03)
    assert read_particles(noisy.files["star"]).ctf_bfactor_A2 is None
    assert np.unique(truth.ctf_bfactor_A2).tolist() == [0.0, 20.0]


def test_overlapping_boxes_share_their_noise(volume: Volume, tmp_path: Path) -> None:
    settings = GEOMETRY.model_copy(update={"n_filaments": 1, "optics": (OpticsSettings(snr=1e-6),)})
    made = simulate_particles(volume, SYMMETRY, tmp_path, settings)
    truth, images = read_truth(made)
    dx, dy = (int(np.diff(c)[0]) for c in (truth.coordinate_x_px, truth.coordinate_y_px))
    first = images[0, max(dy, 0) : BOX + min(dy, 0), max(dx, 0) : BOX + min(dx, 0)]
    second = images[1, max(-dy, 0) : BOX + min(-dy, 0), max(-dx, 0) : BOX + min(-dx, 0)]
    assert first.size > BOX**2 / 3
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 1 - 1e-5
    # Normalised by the background: two thirds of the pixels or fewer, correlated over two or three.
    assert np.abs(images.std(axis=(1, 2)) - 1).max() < 0.1


def test_noise_has_the_spectrum_asked_for() -> None:
    size = 256
    optics = (OpticsSettings(noise_at_nyquist=0.25, solvent_noise=3.0),)
    settings = GEOMETRY.model_copy(update={"optics": optics})
    power = np.mean([np.abs(noise_transform(draw_filament(k, settings), settings, size)) ** 2 for k in range(4)], 0)
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    rings = [power[np.abs(radius - r) < 0.01].mean() for r in (0.02, 0.1, 0.3, 0.49)]
    expected = [0.25 ** (4 * r * r) * (1 + 3 / (1 + (r * 20 / PIXEL_A) ** 2)) for r in (0.02, 0.1, 0.3, 0.49)]
    # 4 · 500 terms and more in a ring, each with the spread of an exponential: 3%; the innermost has 4 · 30.
    assert np.array(rings[1:]) / rings[3] == pytest.approx(np.array(expected[1:]) / expected[3], rel=0.1)
    assert rings[0] / rings[3] == pytest.approx(expected[0] / expected[3], rel=0.4)
    image = np.fft.irfft2(noise_transform(draw_filament(0, settings), settings, size), (size, size))
    assert image.var() == pytest.approx(1.0, rel=0.05)
