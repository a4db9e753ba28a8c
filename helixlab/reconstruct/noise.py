"""The noise's spectrum: power by shell, for each optics group.

Images end in a soft mask, which takes a part of their noise away, but not of the particle, which lies in the middle: it
meets the noise as it was before. Powers that are measured on the images are therefore divided by the part that is left.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from helixlab.kernels.bands import Band, flip_bands, shift_bands
from helixlab.kernels.project import reference_transform, slices
from helixlab.reconstruct.at_once import at_once
from helixlab.reconstruct.devices import on_all, spread
from helixlab.reconstruct.poses import Poses
from helixlab.reconstruct.prepare import PreparedParticles

_BATCH = 256
"""Images that a device compares at a time where memory allows."""

_LEAST_POWER = 1e-3
"""Images have unit variance outside the particle: an emptier shell was filtered away, and would weigh without end."""


def image_power(particles: PreparedParticles) -> Float[np.ndarray, "g s"]:
    """Mean power of the images, signal included: the first guess of the noise, and a bound on it from above.

    It is the same for all maps of these images: likelihoods that are compared between maps count with it. What a map
    leaves unexplained of its own images is less than their noise.

    Examples
    --------
    See :func:`residual_power`, which improves on it.
    """
    shells = np.asarray(particles.band.shell)
    total = np.zeros((particles.optics_group.max() + 1, particles.last_shell + 1))
    for group in range(len(total)):
        power = np.zeros(len(shells))
        rows = np.flatnonzero(particles.optics_group == group)
        for at, is_valid in particles.batches(len(rows), particles.last_shell, most=_BATCH):
            power += np.sum(particles.x.read(rows[at[is_valid]], len(shells)) ** 2, axis=(0, 1))
        total[group] = _by_shell(power / (max(len(rows), 1) * particles.mask_power), shells, particles.last_shell)
    return total


def residual_power(
    particles: PreparedParticles,
    poses: Poses,
    references: tuple[Float[Array, "n n n"], Float[Array, "n n n"]],
    noise_power: Float[np.ndarray, "g s"],
) -> Float[np.ndarray, "g s"]:
    """Mean power of what the references leave unexplained at each image's best pose.

    Parameters
    ----------
    particles : PreparedParticles
    poses : Poses
    references : pair of float32 arrays, shape (n, n, n)
        Those that the two half-sets were aligned with.
    noise_power : float array, shape (g, s)
        The latest estimate; a group without images keeps it.

    Returns
    -------
    float array, shape (g, s)
    """
    shells = np.asarray(particles.band.shell)
    best = poses.best

    def left_of(half: int, reference: Float[Array, "n n n"]) -> tuple[Float[np.ndarray, "g f"], Float[np.ndarray, "g"]]:
        power, count = np.zeros((len(noise_power), len(shells))), np.zeros(len(noise_power))
        transform = on_all(reference_transform(reference, r_max=particles.last_shell))
        mine = best.select(particles.half_set[best.image] == half)
        matrices = mine.matrices
        for at, is_valid in particles.batches(len(mine), particles.last_shell, most=_BATCH):
            group = particles.optics_group[mine.image[at]]
            is_of_group = is_valid[:, None] & (group[:, None] == np.arange(len(noise_power)))
            x, ctf, band = particles.whitened(mine.image[at], noise_power, particles.last_shell)
            seen = slices(transform, spread(matrices[at]), band.k)
            turned = spread(mine.is_flipped[at]), spread(mine.shift_px[at].astype(np.float32))
            power += np.asarray(_residual(x, ctf, seen, *turned, spread(is_of_group), band))
            count += is_of_group.sum(axis=0)
        return power, count

    (power, count), (other_power, other_count) = at_once(left_of, (1, 2), references)
    power, count = power + other_power, count + other_count
    ratio = np.stack(
        [
            _by_shell(p / (max(n, 1) * particles.mask_power), shells, particles.last_shell)
            for p, n in zip(power, count, strict=True)
        ]
    )
    return np.where(count[:, None] > 0, np.maximum(noise_power * ratio, _LEAST_POWER), noise_power)


@jax.jit
def _residual(
    x: Float[Array, "n 2 f"],
    ctf: Float[Array, "n f"],
    seen: Float[Array, "n 2 f"],
    is_flipped: Bool[Array, "n"],
    shift_px: Float[Array, "n 2"],
    is_of_group: Bool[Array, "n g"],
    band: Band,
) -> Float[Array, "g f"]:
    """Sums over the images of each group."""
    x = flip_bands(x, is_flipped)
    left = jnp.sum((shift_bands(x, shift_px, band) - ctf[:, None] * seen) ** 2, axis=1)
    return jnp.matmul(is_of_group.T.astype(jnp.float32), left, precision="highest")


def _by_shell(power: Float[np.ndarray, "f"], shells: Int[np.ndarray, "f"], last_shell: int) -> Float[np.ndarray, "s"]:
    """Mean of each shell; shell 0, of which a band has nothing, has that of shell 1."""
    mean = np.bincount(shells, power, last_shell + 1) / np.maximum(np.bincount(shells, minlength=last_shell + 1), 1)
    mean[0] = mean[1]
    return np.maximum(mean, _LEAST_POWER)
