"""Whether two models hold the same molecule, wherever it lies and whichever way it points."""

import numpy as np
import pytest
from scipy.ndimage import affine_transform

from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.reconstruct.starts import AGREED
from helixlab.reconstruct.superposition import model_waves, superposed_correlation
from helixlab.simulate import simulate_helix

RADIUS_A, RESOLUTION_A, RISE_A = 45.0, 12.0, 12.0


def model(twist_deg: float = 60.0) -> Volume:
    symmetry = HelicalSymmetry(twist_deg, RISE_A)
    return simulate_helix("builtin", symmetry, box=48, pixel_size_A=4.0, resolution_A=RESOLUTION_A).volume


def moved(volume: Volume, turn_deg: float, shift_px: float, *, is_upside_down: bool) -> Volume:
    """Turned about z, and about x if upside down, then shifted along z."""
    cos, sin = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    matrix = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    if is_upside_down:
        matrix = matrix @ np.diag([-1.0, -1.0, 1.0])
    centre = np.full(3, volume.shape[0] // 2)
    offset = centre - matrix @ (centre + np.array([shift_px, 0, 0]))
    return volume.with_data(affine_transform(volume.data, matrix, offset, order=3).astype(np.float32))


def agreement(one: Volume, two: Volume) -> float:
    return superposed_correlation(*(model_waves(v, RADIUS_A, RESOLUTION_A) for v in (one, two)), RISE_A)


@pytest.mark.parametrize("is_upside_down", [False, True])
def test_a_model_agrees_with_itself_in_any_place(is_upside_down: bool) -> None:
    one = model()
    assert agreement(one, one) == pytest.approx(1.0, abs=1e-5)
    # What is lost: half a step of the angles and heights that are compared, and the box's end that was moved out.
    assert agreement(one, moved(one, 77.0, 1.3, is_upside_down=is_upside_down)) > AGREED


def test_other_molecules_and_mixed_polarities_do_not_agree() -> None:
    one = model()
    assert agreement(one, model(75.0)) < 0.5
    mixed = one.with_data(one.data + moved(one, 20.0, 0.0, is_upside_down=True).data)
    assert agreement(one, mixed) < AGREED
