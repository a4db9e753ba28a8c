"""Euler angles, matrices and rotation vectors: one rotation, three ways to write it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from helixlab.geometry import (
    cryosparc_to_relion_pose,
    euler_to_matrix,
    matrix_to_euler,
    matrix_to_rotation_vector,
    relion_to_cryosparc_pose,
    rotation_vector_to_matrix,
)

ROUNDING = 50 * np.finfo(np.float64).eps
"""Some ten products of sines and cosines, each of a value up to 1."""

angle = st.floats(-720.0, 720.0)
tilt = st.one_of(st.sampled_from([0.0, 180.0, -180.0, 90.0, 1e-9, 180.0 - 1e-9]), st.floats(-360.0, 360.0))
length = st.one_of(st.sampled_from([0.0, 1e-300, 1e-12, 1e-7, np.pi - 1e-9, np.pi]), st.floats(0.0, 3.14))


def one(*values):
    return tuple(np.array([value]) for value in values)


@given(angle, tilt, angle)
def test_euler_angles_reproduce_their_matrix_at_every_tilt(rot, tilt, psi):
    matrix = euler_to_matrix(*one(rot, tilt, psi))
    back = matrix_to_euler(matrix)
    assert 0 <= back[1][0] <= 180
    # An angle of 720° is known to 720·eps degrees.
    np.testing.assert_allclose(euler_to_matrix(*back), matrix, atol=4 * ROUNDING)


@given(angle, tilt, angle)
def test_a_pose_goes_to_cryosparc_and_back(rot, tilt, psi):
    matrix = euler_to_matrix(*one(rot, tilt, psi))
    vector = relion_to_cryosparc_pose(*one(rot, tilt, psi))
    assert np.linalg.norm(vector) <= np.pi + ROUNDING
    np.testing.assert_allclose(euler_to_matrix(*cryosparc_to_relion_pose(vector)), matrix, atol=4 * ROUNDING)


@given(st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1)), length)
def test_rotation_vectors_reproduce_themselves_near_zero_and_pi(direction, length):
    norm = np.linalg.norm(direction)
    vector = np.array([direction]) * (length / norm if norm > 1e-3 else 0.0)
    matrix = rotation_vector_to_matrix(vector)
    back = matrix_to_rotation_vector(matrix)
    np.testing.assert_allclose(rotation_vector_to_matrix(back), matrix, atol=ROUNDING)
    if length < 3.1:  # at π the vectors v and −v are one rotation
        # Relative to the vector, even where its square vanishes beside 1.
        np.testing.assert_allclose(back, vector, rtol=1e-9, atol=ROUNDING)


def test_tiny_rotations_keep_all_their_digits():
    vector = np.array([[1e-9, -2e-9, 3e-9]])
    np.testing.assert_allclose(matrix_to_rotation_vector(rotation_vector_to_matrix(vector)), vector, rtol=ROUNDING)


@pytest.mark.parametrize("tilt", [0.0, 180.0])
def test_at_the_poles_rot_is_zero_and_psi_takes_the_sum(tilt):
    rot, found_tilt, psi = matrix_to_euler(euler_to_matrix(*one(25.0, tilt, 40.0)))
    assert rot[0] == 0
    assert found_tilt[0] == pytest.approx(tilt, abs=1e-9)
    # Rz(psi) Rz(rot) at tilt 0; a half turn about y between them changes rot's sign.
    assert psi[0] == pytest.approx(65.0 if tilt == 0 else 15.0, abs=1e-9)


def test_matrices_are_proper_rotations_and_the_frame_turns():
    rng = np.random.default_rng(1)
    rot, tilt, psi = rng.uniform(-180, 180, (3, 50))
    matrix = euler_to_matrix(rot, tilt, psi)
    np.testing.assert_allclose(matrix @ np.swapaxes(matrix, 1, 2), np.tile(np.eye(3), (50, 1, 1)), atol=ROUNDING)
    np.testing.assert_allclose(np.linalg.det(matrix), 1, atol=ROUNDING)
    # scipy turns vectors where RELION turns the frame: the inverse, angles in the other order.
    reference = Rotation.from_euler("ZYZ", np.stack([rot, tilt, psi], 1), degrees=True).as_matrix()
    np.testing.assert_allclose(np.swapaxes(matrix, 1, 2), reference, atol=ROUNDING)


def test_rotation_vectors_agree_with_scipy():
    rng = np.random.default_rng(2)
    vector = rng.normal(size=(200, 3))
    np.testing.assert_allclose(
        rotation_vector_to_matrix(vector), Rotation.from_rotvec(vector).as_matrix(), atol=ROUNDING
    )


def test_cryosparc_poses_follow_the_published_converters():
    """Helicon reads a pose as scipy's from_rotvec(v).as_euler("zyz") = (psi, tilt, rot); pyem's and cryoDRGN's rules
    (A is the transpose of exp[v]×) are the same rotation.
    """
    rng = np.random.default_rng(3)
    vector = rng.normal(size=(100, 3))
    psi, tilt, rot = Rotation.from_rotvec(vector).as_euler("zyz", degrees=True).T
    found = cryosparc_to_relion_pose(vector)
    # Angles from acos near its poles lose half the digits: 1e-7 degrees.
    np.testing.assert_allclose(np.exp(1j * np.deg2rad(found[0] - rot)), 1, atol=1e-7)
    np.testing.assert_allclose(found[1], tilt, atol=1e-6)
    np.testing.assert_allclose(np.exp(1j * np.deg2rad(found[2] - psi)), 1, atol=1e-7)


def test_an_in_plane_rotation_is_the_vector_along_z():
    np.testing.assert_allclose(relion_to_cryosparc_pose(*one(0.0, 0.0, 35.0)), [[0, 0, np.deg2rad(35)]], atol=ROUNDING)


def test_a_filament_lies_along_cos_psi_minus_sin_psi():
    psi = 36.158185  # of a real segment whose boxes follow each other along (15.825754, −11.564974) px
    axis = euler_to_matrix(*one(17.0, 90.0, psi))[0] @ [0, 0, 1]
    step = np.array([15.825754, -11.564974])
    cross = axis[0] * step[1] - axis[1] * step[0]
    assert abs(cross) / np.hypot(*step) < 1e-5  # six decimals of 36° and of 15 px
    assert abs(axis[2]) < ROUNDING
