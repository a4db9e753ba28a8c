"""Imposing symmetry: against its definition evaluated in float64, against RELION, and what must hold for any map."""

import shutil
import subprocess

import numpy as np
import pytest

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.io import read_volume, write_volume
from helixlab.kernels import helical_waves, interpolate
from helixlab.kernels.symmetrize import Symmetrizer, impose_sections, impose_symmetry
from helixlab.simulate import simulate_helix

SIGMA_PX = 1.25
"""Width of the blobs: their transform is 4e-4 at Nyquist, so that sampling loses nothing that the tests see."""


def voxels(shape):
    return np.indices(shape, float) - np.reshape([n // 2 for n in shape], (3, 1, 1, 1))


def radius_of(shape):
    _, y, x = voxels(shape)
    return np.hypot(y, x)


class Blobs:
    """A density of Gaussians without any symmetry, known at every point."""

    def __init__(self, count, reach_px, half_height_px, seed):
        rng = np.random.default_rng(seed)
        radius, phi = reach_px * np.sqrt(rng.uniform(size=count)), rng.uniform(0, 2 * np.pi, count)
        z = rng.uniform(-half_height_px, half_height_px, count)
        self.centres = np.stack([z, radius * np.sin(phi), radius * np.cos(phi)])
        self.weights = rng.uniform(0.5, 1.5, count)

    def __call__(self, z, y, x):
        total = np.zeros(np.broadcast(z, y, x).shape)
        for weight, (cz, cy, cx) in zip(self.weights, self.centres.T, strict=True):
            total += weight * np.exp(-((z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2) / (2 * SIGMA_PX**2))
        return total


def window(z, half_height_px):
    return 0.5 + 0.5 * np.cos(np.pi * np.clip((np.abs(z) - half_height_px) / 5.0, 0, 1))


def defined_average(density, symmetry, pixel_size_A, half_height_px, z, y, x):
    """Σ_k w(z − kR)·c(inverse screw) / Σ_k w(z − kR), averaged over Cn: the definition, point by point."""
    rise_px, order = symmetry.rise_A / pixel_size_A, symmetry.cyclic_order
    top, total, weight = np.abs(z).max() + half_height_px + 5.0, np.zeros(x.shape), np.zeros(x.shape)
    for k in range(-int(top / rise_px) - 1, int(top / rise_px) + 2):
        share = window(z - k * rise_px, half_height_px)
        if not share.any():
            continue
        for j in range(order):
            angle = np.deg2rad(-(k * symmetry.twist_deg + j * 360 / order))
            cos, sin = np.cos(angle), np.sin(angle)
            total += share * density(z - k * rise_px, sin * x + cos * y, cos * x - sin * y)
            weight += share
    return total / weight


@pytest.mark.parametrize(
    ("shape", "symmetry"),
    [
        ((36, 33, 33), HelicalSymmetry(-101.1, 5.13)),
        ((36, 33, 33), HelicalSymmetry(40.0, 2.9)),  # a rise below two voxels: fewer layer lines than orders
        ((33, 32, 37), HelicalSymmetry(29.4, 21.8, "C3")),
        ((40, 33, 32), HelicalSymmetry(179.3, 4.8, "C2")),
    ],
)
def test_average_is_what_the_definition_says(shape, symmetry):
    pixel, fraction = 2.0, 0.4
    blobs = Blobs(60, reach_px=9.0, half_height_px=0.5 * shape[0], seed=1)
    z, y, x = voxels(shape)
    imposed = impose_symmetry(
        Volume(blobs(z, y, x).astype(np.float32), pixel), symmetry, z_fraction=fraction, outer_radius_A=22.0
    )
    expected = defined_average(blobs, symmetry, pixel, fraction * shape[0] / 2, z, y, x)
    inside = radius_of(shape) <= 11.0
    # The definition divides by Σ_k w, which wiggles within one rise; the fit keeps layer lines up to Nyquist only.
    # What lies beyond is the blobs' 4e-4 at Nyquist, spread by a window whose own transform ends at 2/5 of it.
    error = np.abs(imposed.data - expected)[inside]
    assert error.max() < 0.01 * expected.max()
    assert np.sqrt(np.mean(error**2)) < 0.005 * expected[inside].std()


def test_dyad_is_where_it_is_said_to_be():
    shape, pixel, symmetry = (36, 33, 33), 2.0, HelicalSymmetry(50.0, 9.0, "D1")
    azimuth_deg, height_A = 25.0, 2.6
    blobs = Blobs(50, reach_px=9.0, half_height_px=18.0, seed=2)
    z, y, x = voxels(shape)
    imposed = impose_symmetry(
        Volume(blobs(z, y, x).astype(np.float32), pixel),
        symmetry,
        z_fraction=0.4,
        outer_radius_A=22.0,
        dyad_deg=azimuth_deg,
        dyad_z_A=height_A,
    )
    angle = np.deg2rad(2 * azimuth_deg)
    turned = (
        2 * height_A / pixel - z,
        np.sin(angle) * x - np.cos(angle) * y,
        np.cos(angle) * x + np.sin(angle) * y,
    )
    expected = 0.5 * sum(defined_average(blobs, symmetry, pixel, 7.2, *points) for points in ((z, y, x), turned))
    inside = radius_of(shape) <= 11.0
    error = np.abs(imposed.data - expected)[inside]
    assert error.max() < 0.01 * expected.max()  # as above


SYMMETRIES = [
    ((48, 48, 48), HelicalSymmetry(-101.1, 5.13)),
    ((49, 47, 51), HelicalSymmetry(22.03, 1.408)),
    ((60, 48, 46), HelicalSymmetry(-30.6, 21.8, "C6")),
    ((48, 46, 47), HelicalSymmetry(62.5, 8.7, "D2")),
]


@pytest.mark.parametrize(("shape", "symmetry"), SYMMETRIES)
def test_symmetric_map_is_unchanged_and_twice_is_once(shape, symmetry):
    made = simulate_helix("builtin", symmetry, box=shape, pixel_size_A=2.2, resolution_A=6.0).volume
    once = impose_symmetry(made, symmetry, outer_radius_A=46.0, edge_A=2.0)
    inside = radius_of(shape) <= 46.0 / 2.2
    # 6 Å is 0.73 of Nyquist, where a cubic spline at twice the sampling keeps 99.95%. The rest is float32 and what
    # lies beyond Nyquist in the corners. Relative to the standard deviation in the filament, 1 by construction.
    error = (once.data - made.data)[inside]
    assert np.sqrt(np.mean(error**2)) < 0.01
    assert np.abs(error).max() < 0.1
    twice = impose_symmetry(once, symmetry, outer_radius_A=46.0, edge_A=2.0)
    flat = radius_of(shape) <= 43.0 / 2.2  # the edge of the first pass is no density of the second
    assert np.sqrt(np.mean((twice.data - once.data)[flat] ** 2)) < 0.01


def test_result_has_the_symmetry_at_every_height():
    """A quarter turn and three whole voxels move voxels onto voxels: nothing is interpolated in the comparison."""
    rng = np.random.default_rng(3)
    noise = Volume(rng.normal(size=(41, 31, 31)).astype(np.float32), 2.0)
    data = impose_symmetry(noise, HelicalSymmetry(90.0, 6.0)).data
    turned = np.rot90(data, k=-1, axes=(1, 2))  # (z, y, x): x towards y
    np.testing.assert_allclose(turned[:-3], data[3:], atol=2e-4 * data.std())  # float32 phases: 1e-6 × some 100 terms


def test_outside_the_cylinder_is_zero_and_the_edge_is_a_cosine():
    shape, ones = (32, 40, 41), np.ones((32, 40, 41), np.float32)
    data = impose_symmetry(
        Volume(ones, 2.0), HelicalSymmetry(20.0, 4.0), outer_radius_A=24.0, inner_radius_A=10.0, edge_A=6.0
    ).data
    radius = radius_of(shape)

    def step(distance_px):
        return 0.5 + 0.5 * np.cos(np.pi * np.clip(distance_px / 3.0, 0, 1))

    np.testing.assert_allclose(data, step(radius - 12) * step(5 - radius), atol=1e-5)  # float32
    assert (data[radius >= 15] == 0).all()


def test_noise_falls_by_the_number_of_copies():
    symmetry, pixel, n = HelicalSymmetry(-47.3, 6.4, "C2"), 2.0, 80
    rng = np.random.default_rng(4)
    data = impose_symmetry(
        Volume(rng.normal(size=(n, 48, 48)).astype(np.float32), pixel), symmetry, z_fraction=0.6
    ).data
    weight = window(np.arange(n) - n // 2, 0.3 * n)
    copies = 2 * weight.sum() ** 2 / (weight**2).sum() / (symmetry.rise_A / pixel)
    ring = (radius_of(data.shape) > 6) & (radius_of(data.shape) < 15)
    # One asymmetric unit of the ring holds some 500 independent values, of which the variance is known to
    # √(2/500) = 6%; noise in the corners beyond Nyquist, up to a tenth, is not kept.
    assert data[ring].var() * copies == pytest.approx(1.0, abs=0.2)


def test_amplitude_is_kept_at_half_nyquist():
    symmetry = HelicalSymmetry(-101.1, 5.13)
    made = simulate_helix("builtin", symmetry, box=64, pixel_size_A=2.0, resolution_A=4.4, b_factor_A2=0.0).volume
    imposed = impose_symmetry(made, symmetry, outer_radius_A=46.0)
    freq = np.sqrt(sum(f**2 for f in np.meshgrid(*[np.fft.fftfreq(64)] * 3, indexing="ij")))
    shell = np.abs(freq - 0.25) < 1 / 128
    tube = window(radius_of(made.shape), 20.0)
    before, after = (np.fft.fftn(v.data * tube)[shell] for v in (made, imposed))
    assert np.sqrt((np.abs(after) ** 2).sum() / (np.abs(before) ** 2).sum()) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("shape", "symmetry"), SYMMETRIES)
def test_sections_are_slices_of_the_whole(shape, symmetry):
    rng = np.random.default_rng(5)
    noise = Volume(rng.normal(size=shape).astype(np.float32), 2.2)
    options = {"z_fraction": 0.5, "outer_radius_A": 40.0, "inner_radius_A": 6.0, "dyad_deg": 12.0, "dyad_z_A": 1.5}
    data = impose_symmetry(noise, symmetry, **options).data
    sections = impose_sections(noise, symmetry, **options)
    nz, ny, nx = shape
    for section, whole in zip(sections, (data[:, :, nx // 2], data[:, ny // 2], data[nz // 2]), strict=True):
        np.testing.assert_allclose(section, whole, atol=1e-4 * data.std())  # the same sums in another order


def test_one_rise_in_a_whole_box_is_enough():
    rng = np.random.default_rng(6)
    noise = Volume(rng.normal(size=(32, 32, 32)).astype(np.float32), 2.0)
    data = impose_symmetry(noise, HelicalSymmetry(30.0, 64.0), z_fraction=1.0, outer_radius_A=20.0).data
    inside = radius_of(data.shape) < 10
    # One copy: nothing to average; what is lost lies between the sampling frequency's two halves.
    assert np.corrcoef(data[:, inside[0]].ravel(), noise.data[:, inside[0]].ravel())[0, 1] > 0.97


def test_new_numbers_do_not_retrace():
    rng = np.random.default_rng(7)
    noise = Volume(rng.normal(size=(32, 32, 32)).astype(np.float32), 2.0)
    kernels = [k for module in (helical_waves, interpolate) for k in vars(module).values() if hasattr(k, "_cache_size")]

    def compiled():
        return [kernel._cache_size() for kernel in kernels]

    symmetrizer = Symmetrizer(noise, outer_radius_A=20.0, z_fraction=0.5)
    symmetrizer.warm_up()
    before = compiled()
    for rise_A in (1.0, 4.75, 9.0, 31.9):  # one, three, five and sixteen lines of an order
        symmetrizer.sections(HelicalSymmetry(-101.1, rise_A), at_px=(3, 14, 19))
    assert compiled() == before
    # Nor does another map of about the same size.
    impose_symmetry(noise, HelicalSymmetry(29.4, 5.3), outer_radius_A=20.0, z_fraction=0.5)
    before = compiled()
    impose_symmetry(noise, HelicalSymmetry(-101.1, 4.75), outer_radius_A=19.0, z_fraction=0.45, inner_radius_A=3.0)
    assert compiled() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"z_fraction": 0.0}, "^z_fraction: found"),
        ({"z_fraction": 1.2}, "^z_fraction: found"),
        ({"z_fraction": 0.1}, r"^z_fraction: found 0.1, 6.4 Å .* Raise z_fraction to 0.19"),
        ({"outer_radius_A": 31.0}, "^outer_radius_A: found"),
        ({"outer_radius_A": 28.0, "edge_A": 6.0}, "^outer_radius_A: found"),
        ({"outer_radius_A": -3.0}, "^outer_radius_A: found"),
        ({"outer_radius_A": 20.0, "inner_radius_A": 20.0}, "^inner_radius_A: found"),
        ({"inner_radius_A": -1.0}, "^inner_radius_A: found"),
        ({"edge_A": -1.0}, "^edge_A: found"),
        ({"edge_A": float("nan")}, "^edge_A: found"),
        ({"dyad_deg": float("inf")}, "^dyad_deg: found"),
    ],
)
def test_bad_requests_are_named(options, message):
    with pytest.raises(HelixLabError, match=message):
        impose_symmetry(Volume(np.zeros((32, 32, 32), np.float32), 2.0), HelicalSymmetry(20.0, 12.0), **options)


def test_rise_longer_than_the_box_asks_for_a_longer_box():
    with pytest.raises(HelixLabError, match="Use a longer box"):
        impose_symmetry(Volume(np.zeros((16, 16, 16), np.float32), 2.0), HelicalSymmetry(20.0, 40.0))


def test_smallest_box_and_the_next_smaller():
    impose_symmetry(Volume(np.ones((5, 9, 9), np.float32), 2.0), HelicalSymmetry(20.0, 2.0), z_fraction=1.0)
    with pytest.raises(HelixLabError, match=r"^volume: found"):
        impose_symmetry(Volume(np.ones((5, 8, 9), np.float32), 2.0), HelicalSymmetry(20.0, 2.0), z_fraction=1.0)


def test_agrees_with_relion_and_keeps_more(tmp_path):
    program = shutil.which("relion_helix_toolbox")
    if program is None:
        pytest.skip("relion_helix_toolbox is not installed; install RELION to compare with it")
    symmetry = HelicalSymmetry(-101.1, 5.13)
    made = simulate_helix("builtin", symmetry, box=80, pixel_size_A=2.0, resolution_A=5.0).volume
    rng = np.random.default_rng(8)
    noisy = made.with_data(made.data + 0.3 * rng.normal(size=made.shape).astype(np.float32))
    write_volume(tmp_path / "in.mrc", noisy)
    command = [program, "--impose", "--i", "in.mrc", "--o", "out.mrc", "--cyl_outer_diameter", "100", "--angpix", "2"]
    command += ["--rise", "5.13", "--twist", "-101.1", "--z_percentage", "0.5"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    theirs = read_volume(tmp_path / "out.mrc", pixel_size_A=2.0).data
    ours = impose_symmetry(noisy, symmetry, z_fraction=0.5, outer_radius_A=50.0).data
    # RELION lets the density fade towards the ends of the box.
    inside = (radius_of(made.shape) < 21) & (np.abs(voxels(made.shape)[0]) < 30)
    truth = made.data[inside]
    # The same average but for their linear interpolation, which damps what is fine (0.82 at half Nyquist).
    assert np.corrcoef(ours[inside], theirs[inside])[0, 1] > 0.97
    assert np.mean((ours[inside] - truth) ** 2) < np.mean((theirs[inside] - truth) ** 2)
