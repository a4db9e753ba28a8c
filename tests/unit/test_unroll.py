"""The unrolled cylinder: where things land, which way a helix climbs, what is refused."""

import numpy as np
import pytest

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume, axis_coordinates
from helixlab.search.unroll import unroll
from helixlab.simulate import simulate_helix


def blob(shape: tuple[int, int, int], pixel_size_A: float, centre_A: tuple[float, float, float]) -> Volume:
    """A Gaussian ball of 4 voxels' sigma at (x, y, z)."""
    z, y, x = np.meshgrid(*(axis_coordinates(n, pixel_size_A) for n in shape), indexing="ij")
    squared = sum((grid - centre) ** 2 for grid, centre in zip((x, y, z), centre_A, strict=True))
    return Volume(np.exp(-squared / (2 * (4 * pixel_size_A) ** 2)).astype(np.float32), pixel_size_A)


@pytest.mark.parametrize("shape", [(40, 48, 48), (41, 47, 51)])
@pytest.mark.parametrize("phi_deg", [-130.0, 0.0, 60.0, 175.0])
def test_a_ball_lands_at_its_angle_and_height(shape: tuple[int, int, int], phi_deg: float) -> None:
    radius_A, z_A, phi_rad = 24.0, -8.0, np.deg2rad(phi_deg)
    flat = unroll(blob(shape, 2.0, (radius_A * np.cos(phi_rad), radius_A * np.sin(phi_rad), z_A)), radius_A)
    row, column = np.unravel_index(np.argmax(flat.density), flat.density.shape)
    assert flat.z_A[row] == pytest.approx(z_A)  # −8 Å is a whole number of voxels
    step_deg = flat.phi_deg[1] - flat.phi_deg[0]
    assert abs((flat.phi_deg[column] - phi_deg + 180) % 360 - 180) <= 0.51 * step_deg  # the nearest sample
    assert flat.density.max() == pytest.approx(1.0, abs=0.01)  # half a step of 2 Å off a ball of sigma 8 Å: 0.8%


def test_a_screw_moves_the_picture_by_twist_and_rise() -> None:
    # 30° and 12 Å are whole samples of the picture: it must repeat under the shift, and not under the mirror's.
    symmetry = HelicalSymmetry(30.0, 12.0)
    made = simulate_helix("builtin", symmetry, box=48, pixel_size_A=2.0, resolution_A=8.0)
    flat = unroll(made.volume, 30.0, thickness_A=9.0)
    per_phi = np.interp((flat.phi_deg - 30.0 + 180) % 360 - 180, flat.phi_deg, np.arange(flat.phi_deg.size))
    columns = np.rint(per_phi).astype(int)
    moved = flat.density[:-6][:, columns]
    right = np.corrcoef(moved.ravel(), flat.density[6:].ravel())[0, 1]
    left = np.corrcoef(flat.density[6:][:, columns].ravel(), flat.density[:-6].ravel())[0, 1]
    assert right > 0.99  # half a sample of rounding in φ: 0.8 Å of arc against 8 Å of resolution
    assert left < 0.8


def test_thickness_averages_over_the_radii() -> None:
    volume = blob((32, 32, 32), 1.0, (8.0, 0.0, 0.0))
    radii = np.linspace(6.0, 10.0, 5)
    single = [np.asarray(unroll(volume, float(r)).density).max() for r in radii]
    assert unroll(volume, 8.0, thickness_A=4.0).density.max() == pytest.approx(np.mean(single), rel=1e-3)


@pytest.mark.parametrize(
    ("radius_A", "thickness_A", "message"),
    [(0.0, 0.0, "between the axis and 30.0 Å"), (31.0, 0.0, "30.0 Å"), (10.0, 20.0, "axis"), (10.0, -1.0, "thickness")],
)
def test_refused_in_words(radius_A: float, thickness_A: float, message: str) -> None:
    volume = Volume(np.zeros((16, 32, 32), np.float32), 2.0)
    with pytest.raises(HelixLabError, match=message):
        unroll(volume, radius_A, thickness_A=thickness_A)
