"""The unrolled cylinder: a filament's density at one radius laid flat, its subunits a plane lattice."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from helixlab.errors import HelixLabError
from helixlab.geometry import Volume, axis_coordinates
from helixlab.kernels.interpolate import sample_cylinders


@dataclass(frozen=True, eq=False)
class UnrolledMap:
    """Density on a cylinder about the helical axis, seen from outside.

    A screw (:mod:`helixlab.geometry.symmetry`) moves the picture by +twist in φ and +rise in z: with φ to the
    right and z up, the subunits of a right-handed helix climb to the right.

    Parameters
    ----------
    density : float32 array, shape (z, phi)
        Mean over the radii.
    z_A : array, shape (z,)
        Heights in Å, 0 at the box's centre.
    phi_deg : array, shape (phi,)
        Angles from +x towards +y, in [−180, 180).
    radius_A, thickness_A : float
        Mean radius of the cylinder, and the range of radii averaged.
    """

    density: Float[np.ndarray, "z phi"]
    z_A: Float[np.ndarray, "z"]
    phi_deg: Float[np.ndarray, "phi"]
    radius_A: float
    thickness_A: float


def unroll(volume: Volume, radius_A: float, *, thickness_A: float = 0.0) -> UnrolledMap:
    """Lay the density at one distance from the helical axis flat.

    Parameters
    ----------
    volume : Volume
        A filament along z through the box's centre.
    radius_A : float
        Radius of the cylinder, Å, > 0.
    thickness_A : float
        Average over the radii up to half of this on either side, Å, ≥ 0. Averaging lowers the noise.

    Returns
    -------
    UnrolledMap
        Sampled at least once per voxel of arc.

    Raises
    ------
    HelixLabError
        If the radii reach the axis or leave the box.

    Examples
    --------
    >>> from helixlab.geometry import HelicalSymmetry
    >>> from helixlab.simulate import simulate_helix
    >>> made = simulate_helix("builtin", HelicalSymmetry(60.0, 12.0), box=48, pixel_size_A=2.5, resolution_A=8.0)
    >>> flat = unroll(made.volume, 25.0, thickness_A=10.0)
    >>> flat.density.shape, float(flat.z_A[0]), float(flat.phi_deg[0])
    ((48, 152), -60.0, -180.0)
    """
    inner_px, outer_px = _checked_radii(volume, radius_A, thickness_A) / volume.pixel_size_A
    # A voxel apart at most, the two edges included.
    radii_px = np.linspace(inner_px, outer_px, 1 + int(np.ceil(outer_px - inner_px)))
    # As many angles as the widest cylinder needs, at every radius: one size, one compilation.
    n_phi = 2 * int(np.ceil(np.pi * min(volume.shape[1:]) / 2))
    cylinders = np.asarray(sample_cylinders(volume.data, radii_px, n_phi))
    from_minus_half_turn = np.roll(cylinders.mean(axis=0), n_phi // 2, axis=0)
    return UnrolledMap(
        density=np.ascontiguousarray(from_minus_half_turn.T),
        z_A=axis_coordinates(volume.shape[0], volume.pixel_size_A),
        phi_deg=np.arange(n_phi) * (360.0 / n_phi) - 180.0,
        radius_A=float(radius_A),
        thickness_A=float(thickness_A),
    )


def _checked_radii(volume: Volume, radius_A: float, thickness_A: float) -> Float[np.ndarray, "2"]:
    if not (np.isfinite(thickness_A) and thickness_A >= 0):
        raise HelixLabError(f"thickness_A: found {thickness_A}; it is a length in Å, 0 or more.")
    widest_A = (min(volume.shape[1:]) / 2 - 1) * volume.pixel_size_A
    inner_A, outer_A = radius_A - thickness_A / 2, radius_A + thickness_A / 2
    if not (inner_A > 0 and outer_A <= widest_A):
        raise HelixLabError(
            f"radius_A: found {radius_A} Å with a thickness of {thickness_A} Å; the cylinder must lie between the "
            f"axis and {widest_A:.1f} Å, where the box ends."
        )
    return np.array([inner_A, outer_A])
