"""Maximisation: from posed images to half maps.

Each half-set is backprojected once. The sum as it stands is the map without symmetry, in which twist and rise can be
searched; averaged over the operators it gives the half map. The Wiener filter follows the FSC of the half maps.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.kernels.backproject import average_operators, backproject, empty_accumulator, with_mates
from helixlab.kernels.bands import flip_bands, shift_bands
from helixlab.kernels.reconstruct import inverse_signal_power, mean_weights, reconstruct_volume
from helixlab.kernels.symmetrize import impose_symmetry
from helixlab.reconstruct.devices import on_all, spread, summed_over_devices, zeros_by_device
from helixlab.reconstruct.levelling import levelling_gain, mean_level, restored
from helixlab.reconstruct.poses import Poses
from helixlab.reconstruct.prepare import PreparedParticles

_BATCH = 256
"""Images that a device adds at a time where memory allows."""

_LEAST_WEIGHT = 1e-6
"""Added to the weights, as a part of the largest shell mean: an empty shell then is zero."""

CENTRAL_FRACTION = 0.35
"""Middle part of the box whose density is averaged in real space; copies applied in Fourier space are whole there."""

_TRUST = 0.9
"""FSC that maps are filtered by which have none of their own: of different frames, or of shared poses."""


def accumulate(
    particles: PreparedParticles, poses: Poses, noise_power: Float[np.ndarray, "g s"]
) -> Float[Array, "z z x 3"]:
    """Backproject images at their poses, up to the last shell.

    Parameters
    ----------
    particles : PreparedParticles
    poses : Poses
        Of one half-set.
    noise_power : float array, shape (g, s)

    Returns
    -------
    float32 array
        The accumulator (:mod:`helixlab.kernels.backproject`), with Friedel mates, without symmetry.
    """
    accumulator = zeros_by_device(empty_accumulator(particles.last_shell))
    matrices = poses.matrices
    level = jnp.asarray(mean_level(particles, poses.image, noise_power), jnp.float32)
    gain = on_all(levelling_gain(level, particles.band.k))
    for at, is_valid in particles.batches(len(poses), particles.last_shell, most=_BATCH, varies=True):
        x, ctf, band = particles.whitened(poses.image[at], noise_power, particles.last_shell)
        x = flip_bands(x, spread(poses.is_flipped[at]))
        x = shift_bands(x, spread(poses.shift_px[at].astype(np.float32)), band)
        weight = spread((poses.weight[at] * is_valid).astype(np.float32))
        accumulator = backproject(accumulator, x * gain, ctf * gain, spread(matrices[at]), band, weight=weight)
    return restored(with_mates(summed_over_devices(accumulator)), level)


def symmetrised(
    accumulator: Float[Array, "z z x 3"],
    symmetry: HelicalSymmetry | None,
    point_group: str,
    *,
    order: int,
    box_A: float,
) -> Float[Array, "z z x 3"]:
    """An accumulator averaged over the central ``order`` copies of a helix and its point group.

    Parameters
    ----------
    accumulator : float32 array
    symmetry : HelicalSymmetry or None
        None: the point group only.
    point_group : str
    order : int
        Maximum symmetry order; as many steps are taken up as down the axis, so that 4 counts as 5.
    box_A : float
    """
    if symmetry is None:
        if point_group == "C1":
            return accumulator
        # Without steps its rise has no meaning.
        return average_operators(accumulator, HelicalSymmetry(0.0, box_A, point_group), n_steps=0, box_A=box_A)
    steps = min(order // 2, int(box_A / (2 * symmetry.rise_A)))
    return average_operators(accumulator, symmetry, n_steps=steps, box_A=box_A)


def half_map(
    accumulator: Float[Array, "z z x 3"], fsc: Float[np.ndarray, "s"] | None = None, *, box_px: int
) -> Float[np.ndarray, "n n n"]:
    """The map of an accumulator, Wiener-filtered if the FSC between the halves is given.

    An FSC is to be measured on maps without filter: where 1/τ² outweighs the images, maps become plain sums of them,
    in which the few well covered frequencies of a shell stand for all.
    """
    mean = mean_weights(accumulator)
    # Images have no mean: nothing is in shell 0 but what interpolation spreads there.
    least = _LEAST_WEIGHT * jnp.max(mean)
    inverse = least if fsc is None else inverse_signal_power(mean, jnp.asarray(fsc, jnp.float32))
    inverse = jnp.maximum(inverse, least) * jnp.ones_like(mean)
    return np.asarray(reconstruct_volume(accumulator, box=box_px, inverse_signal_power=inverse))


def low_passed_map(
    particles: PreparedParticles,
    poses: Poses,
    noise_power: Float[np.ndarray, "g s"],
    symmetry: HelicalSymmetry | None,
    point_group: str,
    *,
    order: int,
    shell: int,
) -> Volume:
    """The map of images at some poses, with a symmetry, up to a shell: where there is no FSC to filter it by.

    Parameters
    ----------
    particles, poses, noise_power
        As in :func:`accumulate`.
    symmetry, point_group, order
        As in :func:`symmetrised`.
    shell : int
        The last that is kept.
    """
    total = accumulate(particles, poses, noise_power)
    total = symmetrised(total, symmetry, point_group, order=order, box_A=particles.box_A)
    fsc = np.where(np.arange(particles.last_shell + 1) <= shell, _TRUST, 0.0)
    return Volume(half_map(total, fsc, box_px=particles.box_px), particles.pixel_size_A)


def mean_map(halves: tuple[Volume, Volume]) -> Volume:
    """The mean of two half maps."""
    return halves[0].with_data((halves[0].data + halves[1].data) / 2)


def symmetrised_in_real_space(volume: Volume, symmetry: HelicalSymmetry, outer_radius_A: float) -> Volume:
    """The central part of a map averaged over the helix and extended over the box."""
    fraction = min(1.0, max(CENTRAL_FRACTION, 1.5 * symmetry.rise_A / volume.extent_A[0]))
    return impose_symmetry(volume, symmetry, z_fraction=fraction, outer_radius_A=outer_radius_A)
