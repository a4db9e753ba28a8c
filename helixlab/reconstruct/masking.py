"""The dynamic mask: a soft cylinder as wide as the filament, clipped along the axis.

A filament that is averaged over its screw and extended over the box is as good as round to a mask: what is cut off
between the grooves of its surface would be little, and a round mask cannot carry a wrong screw from one iteration to
the next.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from helixlab.errors import HelixLabError
from helixlab.geometry import Volume
from helixlab.geometry.grids import axis_coordinates
from helixlab.kernels.fourier import low_pass
from helixlab.kernels.masks import cylindrical_mask
from helixlab.reconstruct.settings import RefinementSettings

_PROFILE_RES_A = 20.0
"""To which a map is low-passed before its surface is looked for."""

_LEAST_PART = 0.02
"""Of a cylinder that has to reach the threshold: single peaks of noise, without symmetry a third as high as the map,
would widen the mask from iteration to iteration."""

_AVERAGE_PART = 0.05
"""Of the highest part of a radial profile, above the solvent: where filaments end, to a voxel of 6 Å."""

_RIM_SIGMAS = 4.0
"""A profile's noise, as seen at the box's rim, is no filament."""


@dataclass(frozen=True, eq=False)
class FilamentMask:
    """Where the filament lies.

    Parameters
    ----------
    mask : float32 array, shape (n, n, n)
        Between 0 and 1.
    outer_radius_A : float
        Of the filament, without the mask's margin.
    """

    mask: Float[np.ndarray, "n n n"]
    outer_radius_A: float


def dynamic_mask(volume: Volume, settings: RefinementSettings) -> FilamentMask:
    """The mask of a map, as the settings' threshold, dilation, soft edge and z-clip say.

    Examples
    --------
    >>> x = axis_coordinates(32)
    >>> tube = np.broadcast_to(np.hypot(x[:, None], x) < 8, (32, 32, 32)).astype(np.float32)
    >>> found = dynamic_mask(Volume(tube, 4.0), RefinementSettings())
    >>> round(found.outer_radius_A / 4.0), float(found.mask[16, 16, 16]), float(found.mask[0, 16, 16])
    (8, 1.0, 0.0)
    """
    return _round(volume, _outer_radius_px(volume, settings.mask_threshold), settings)


def mask_of_average(volume: Volume, settings: RefinementSettings) -> FilamentMask:
    """The mask of a map whose images were averaged at random azimuths, where single peaks do not stand out.

    Examples
    --------
    >>> x = axis_coordinates(32)
    >>> radius = np.hypot(x[:, None], x)
    >>> thinning = np.broadcast_to(np.clip(10 - radius, 0, 1) + 10 * (radius < 5), (32, 32, 32)).astype(np.float32)
    >>> dynamic_mask(Volume(thinning, 4.0), RefinementSettings()).outer_radius_A
    20.0
    >>> mask_of_average(Volume(thinning, 4.0), RefinementSettings()).outer_radius_A
    36.0
    """
    profile = _profile(volume.data)
    rim = profile[-max(3, len(profile) // 6) :]
    above = profile - np.median(rim)
    inside = np.flatnonzero(above > max(_AVERAGE_PART * above.max(), _RIM_SIGMAS * rim.std()))
    return _round(volume, float(inside.max(initial=1)), settings)


def _round(volume: Volume, outer_px: float, settings: RefinementSettings) -> FilamentMask:
    pixel_A, box = volume.pixel_size_A, volume.shape[0]
    edge_px = settings.mask_soft_edge_A / pixel_A
    widest_px = box / 2 - 1 - edge_px
    outer_px = min(outer_px, widest_px - settings.mask_dilation_A / pixel_A)
    mask = cylindrical_mask(
        volume.shape,
        max(1.0, outer_px + settings.mask_dilation_A / pixel_A),
        z_fraction=settings.mask_z_clip_fraction,
        edge_px=edge_px,
    )
    return FilamentMask(np.asarray(mask), float(outer_px * pixel_A))


def static_mask(mask: Volume) -> FilamentMask:
    """A mask that is given; its filament reaches as far as half of its height does, and no further than the box.

    Raises
    ------
    HelixLabError
        If there is nothing in it.

    Examples
    --------
    >>> everywhere = Volume(np.ones((32, 32, 32), np.float32), 4.0)
    >>> static_mask(everywhere).outer_radius_A
    60.0
    """
    if not mask.data.max() > 0:
        raise HelixLabError("mask: found no voxel above 0; give a mask that is 1 within the filament and 0 outside.")
    room_px = min(mask.shape[1:]) // 2 - 1
    return FilamentMask(mask.data, min(_radius_px(mask.data, 0.5), room_px) * mask.pixel_size_A)


def _outer_radius_px(volume: Volume, threshold: float) -> float:
    # At most the frequency at which the low-pass's edge still ends before Nyquist.
    smooth = np.asarray(low_pass(jnp.asarray(volume.data), min(volume.pixel_size_A / _PROFILE_RES_A, 0.45)))
    return _radius_px(smooth, threshold)


def _radius_px(density: Float[np.ndarray, "z y x"], threshold: float) -> float:
    """Largest distance from the axis at which enough of a map reaches this part of its largest value."""
    y, x = (axis_coordinates(n) for n in density.shape[1:])
    ring = np.rint(np.hypot(y[:, None], x)).astype(int).ravel()
    part = np.mean(density >= threshold * density.max(), axis=0).ravel()
    return float(np.flatnonzero(np.bincount(ring, part) >= _LEAST_PART * np.bincount(ring)).max())


def _profile(density: Float[np.ndarray, "z y x"]) -> Float[np.ndarray, "r"]:
    """Mean density at each distance from the axis, in voxels, within the box."""
    y, x = (axis_coordinates(n) for n in density.shape[1:])
    ring = np.rint(np.hypot(y[:, None], x)).astype(int).ravel()
    sums = np.bincount(ring, density.mean(axis=0).ravel())
    return (sums / np.bincount(ring))[: min(density.shape[1:]) // 2]
