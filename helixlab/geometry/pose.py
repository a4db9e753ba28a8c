"""Orientations of particles: RELION's Euler angles, rotation matrices and CryoSPARC's rotation vectors.

Conventions (the whole project refers to this paragraph). A pose is RELION's (rot, tilt, psi) in degrees, ZYZ. Its
matrix ``A = Rz(psi) Ry(tilt) Rz(rot)``, each factor a rotation of the *frame* (SPIDER's convention), takes a point
of the reference to the particle: image coordinates are ``(A r)_xy``, the view is along +z. A helix lies in the
image plane at tilt 90°; its +z axis then points along (−cos psi, sin psi) in the image.

A shift (RELION's ``rlnOriginXAngst``, ``rlnOriginYAngst``) is what must be *added* to the image to centre the
particle: the particle sits at minus the shift.

CryoSPARC's ``alignments3D/pose`` is a rotation vector v (axis times angle in radians), and ``A = exp([v]×)ᵀ``, where
[v]× is the cross-product matrix. Its shifts, in pixels, have RELION's sign, and so has the in-plane angle
``alignments2D/pose``: the case v = (0, 0, psi) of the same rule.

What was verified: RELION's half against an independent implementation of ZYZ angles and the directions of the
filaments in a real table; CryoSPARC's 3D rule against three independent public converters, which agree on it (pyem,
cryoDRGN, Helicon); the sign of the shifts against the first two. For ``alignments2D`` the public converters disagree
(pyem: this sign; Helicon: the opposite), and no table with images that could settle it is at hand: the rule used is
the 3D one.
"""

import numpy as np
from jaxtyping import Float

_POLE = 1e-12
"""sin(tilt) below this is a pole, where only rot ± psi is defined; float64 rounding of a matrix is 1e-16."""


def euler_to_matrix(
    rot_deg: Float[np.ndarray, "n"], tilt_deg: Float[np.ndarray, "n"], psi_deg: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n 3 3"]:
    """The matrices A = Rz(psi) Ry(tilt) Rz(rot) of RELION's Euler angles.

    Parameters
    ----------
    rot_deg, tilt_deg, psi_deg : float array, shape (n,)
        Degrees, any finite value.

    Returns
    -------
    float64 array, shape (n, 3, 3)
        Acting on column vectors (x, y, z) of the reference.

    References
    ----------
    Heymann, Chagoyen & Belnap (2005) J. Struct. Biol. 151, 196, doi:10.1016/j.jsb.2005.06.001.

    Examples
    --------
    >>> axis = euler_to_matrix(np.array([0.0]), np.array([90.0]), np.array([30.0]))[0] @ [0, 0, 1]
    >>> np.round(axis, 3).tolist()  # where the helical axis lies in the image
    [-0.866, 0.5, 0.0]
    """
    rot, tilt, psi = (np.deg2rad(np.asarray(angle, np.float64)) for angle in (rot_deg, tilt_deg, psi_deg))
    ca, cb, cg = np.cos(rot), np.cos(tilt), np.cos(psi)
    sa, sb, sg = np.sin(rot), np.sin(tilt), np.sin(psi)
    rows = [
        [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
        [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
        [sb * ca, sb * sa, cb],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def matrix_to_euler(
    matrix: Float[np.ndarray, "n 3 3"],
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """RELION's (rot, tilt, psi) in degrees of rotation matrices A; the inverse of :func:`euler_to_matrix`.

    Parameters
    ----------
    matrix : float array, shape (n, 3, 3)
        Proper rotations.

    Returns
    -------
    rot_deg, tilt_deg, psi_deg : float64 arrays, shape (n,)
        Tilt in [0°, 180°], the others in [−180°, 180°]. At the poles (tilt 0° or 180°) rot is 0°.

    Notes
    -----
    psi is taken from A·Rz(rot)ᵀ, which makes the triple reproduce the matrix to rounding at every tilt.

    Examples
    --------
    >>> a = euler_to_matrix(np.array([10.0]), np.array([90.0]), np.array([-30.0]))
    >>> [round(float(angle[0]), 6) for angle in matrix_to_euler(a)]
    [10.0, 90.0, -30.0]
    """
    a = np.asarray(matrix, np.float64)
    sin_tilt = np.hypot(a[:, 2, 0], a[:, 2, 1])
    tilt = np.arctan2(sin_tilt, a[:, 2, 2])
    rot = np.where(sin_tilt > _POLE, np.arctan2(a[:, 2, 1], a[:, 2, 0]), 0.0)
    cos, sin = np.cos(rot), np.sin(rot)
    psi = np.arctan2(cos * a[:, 0, 1] - sin * a[:, 0, 0], cos * a[:, 1, 1] - sin * a[:, 1, 0])
    return np.rad2deg(rot), np.rad2deg(tilt), np.rad2deg(psi)


def rotation_vector_to_matrix(vector_rad: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3 3"]:
    """exp([v]×): the right-handed rotations by |v| radians about v.

    Parameters
    ----------
    vector_rad : float array, shape (n, 3)
        Any length; lengths that differ by 2π are the same rotation.

    Returns
    -------
    float64 array, shape (n, 3, 3)

    Notes
    -----
    Rodrigues' formula, I + (sin θ/θ) K + ½ (sin(θ/2)/(θ/2))² K², has no singularity at θ = 0.

    Examples
    --------
    >>> np.round(rotation_vector_to_matrix(np.array([[0, 0, np.pi / 2]]))[0] @ [1, 0, 0], 6).tolist()
    [0.0, 1.0, 0.0]
    """
    v = np.asarray(vector_rad, np.float64)
    zero = np.zeros(len(v))
    cross = np.array([[zero, -v[:, 2], v[:, 1]], [v[:, 2], zero, -v[:, 0]], [-v[:, 1], v[:, 0], zero]])
    cross = np.moveaxis(cross, 2, 0)
    turns = np.linalg.norm(v, axis=1)[:, None, None] / np.pi
    return np.eye(3) + np.sinc(turns) * cross + 0.5 * np.sinc(turns / 2) ** 2 * (cross @ cross)


def matrix_to_rotation_vector(matrix: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 3"]:
    """The rotation vectors, of length ≤ π, of rotation matrices; the inverse of :func:`rotation_vector_to_matrix`.

    Parameters
    ----------
    matrix : float array, shape (n, 3, 3)
        Proper rotations.

    Returns
    -------
    float64 array, shape (n, 3)
        Radians. A rotation by exactly π has two such vectors, v and −v; either may be returned.

    Notes
    -----
    By way of the unit quaternion, divided by its largest component, so that no angle loses digits.

    References
    ----------
    Shepperd (1978) J. Guid. Control 1, 223, doi:10.2514/3.55767b.

    Examples
    --------
    >>> v = np.array([[0.1, -2.0, 0.3]])
    >>> np.round(matrix_to_rotation_vector(rotation_vector_to_matrix(v)), 9).tolist()
    [[0.1, -2.0, 0.3]]
    """
    r = np.asarray(matrix, np.float64)
    xx, yy, zz = r[:, 0, 0], r[:, 1, 1], r[:, 2, 2]
    # Row i of `products` is 4 q_i (w, x, y, z): four ways to write the quaternion, up to a factor.
    wx, wy, wz = r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]
    xy, xz, yz = r[:, 0, 1] + r[:, 1, 0], r[:, 0, 2] + r[:, 2, 0], r[:, 1, 2] + r[:, 2, 1]
    products = np.array(
        [
            [1 + xx + yy + zz, wx, wy, wz],
            [wx, 1 + xx - yy - zz, xy, xz],
            [wy, xy, 1 - xx + yy - zz, yz],
            [wz, xz, yz, 1 - xx - yy + zz],
        ]
    )
    largest = np.argmax(np.abs(np.einsum("iin->in", products)), axis=0)
    q = products[largest, :, np.arange(len(r))]
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    q[q[:, 0] < 0] *= -1
    sine = np.linalg.norm(q[:, 1:], axis=1)
    angle = 2 * np.arctan2(sine, q[:, 0])
    # Where the sine underflows the limit angle/sine → 2 holds.
    factor = np.divide(angle, sine, out=np.full(len(r), 2.0), where=sine > 0)
    return factor[:, None] * q[:, 1:]


def cryosparc_to_relion_pose(
    pose_rad: Float[np.ndarray, "n 3"],
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """RELION's (rot, tilt, psi) in degrees from CryoSPARC's ``alignments3D/pose``.

    Parameters
    ----------
    pose_rad : float array, shape (n, 3)
        Rotation vectors in radians.

    Returns
    -------
    rot_deg, tilt_deg, psi_deg : float64 arrays, shape (n,)

    Examples
    --------
    >>> [round(float(angle[0]), 6) for angle in cryosparc_to_relion_pose(np.array([[0.0, np.pi / 2, 0.0]]))]
    [0.0, 90.0, 0.0]
    """
    return matrix_to_euler(np.swapaxes(rotation_vector_to_matrix(pose_rad), 1, 2))


def relion_to_cryosparc_pose(
    rot_deg: Float[np.ndarray, "n"], tilt_deg: Float[np.ndarray, "n"], psi_deg: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n 3"]:
    """CryoSPARC's ``alignments3D/pose`` (radians, length ≤ π) from RELION's Euler angles in degrees.

    Parameters
    ----------
    rot_deg, tilt_deg, psi_deg : float array, shape (n,)
        Degrees, any finite value.

    Returns
    -------
    float64 array, shape (n, 3)

    Examples
    --------
    >>> relion_to_cryosparc_pose(np.array([0.0]), np.array([0.0]), np.array([90.0])).round(6).tolist()
    [[0.0, 0.0, 1.570796]]
    """
    return matrix_to_rotation_vector(np.swapaxes(euler_to_matrix(rot_deg, tilt_deg, psi_deg), 1, 2))
