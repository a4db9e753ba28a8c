"""Where a refinement starts: images averaged at random azimuths, a tube, or a given map.

At random azimuths the images' in-plane angles alone are used. The average is nearly round: what tells one azimuth from
another is chance, of which the first iterations keep what the symmetry can agree on.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from helixlab.geometry import Volume
from helixlab.geometry.grids import axis_coordinates
from helixlab.kernels.fourier import low_pass
from helixlab.kernels.masks import cylindrical_mask
from helixlab.reconstruct.at_once import at_once
from helixlab.reconstruct.maximisation import low_passed_map
from helixlab.reconstruct.poses import Poses
from helixlab.reconstruct.prepare import PreparedParticles
from helixlab.reconstruct.settings import RefinementSettings


def initial_model(
    particles: PreparedParticles,
    settings: RefinementSettings,
    noise_power: Float[np.ndarray, "g s"],
    *,
    order: int,
    given: Volume | None = None,
    number: int = 0,
) -> tuple[Volume, Volume]:
    """The first references of the two half-sets, on the images' scale.

    Parameters
    ----------
    particles : PreparedParticles
    settings : RefinementSettings
    noise_power : float array, shape (g, s)
    order : int
        Maximum symmetry order.
    given : Volume, optional
        A map to start from, on the images' grid; of any scale.
    number : int
        Each has azimuths of its own.

    Returns
    -------
    pair of Volume
        Low-passed; one map twice, if it is not made from the images.
    """
    rng = np.random.default_rng((settings.seed, number))
    chosen = np.sort(rng.permutation(np.flatnonzero(particles.half_set))[: settings.n_initial_images])
    poses = _random_azimuths(particles, chosen, rng)
    shell = particles.shell_of(settings.initial_lowpass_res_A)

    def average(half: int) -> Volume:
        return low_passed_map(
            particles,
            poses.select(particles.half_set[poses.image] == half),
            noise_power,
            settings.symmetry,
            settings.point_group,
            order=order,
            shell=shell,
        )

    halves = at_once(average, (1, 2))
    cutoff = particles.pixel_size_A / settings.initial_lowpass_res_A
    if given is None and settings.use_cylindrical_model:
        given = _tube(halves[0], settings)
    if given is not None:
        smooth = np.asarray(low_pass(jnp.asarray(given.data), cutoff))
        made = smooth * _scale(smooth, 0.5 * (halves[0].data + halves[1].data))
        halves = 2 * [given.with_data(made.astype(np.float32))]
    return halves[0], halves[1]


def _random_azimuths(particles: PreparedParticles, rows: np.ndarray, rng: np.random.Generator) -> Poses:
    """Each image at an azimuth of its own; a filament has one polarity."""
    polarity = rng.integers(0, 2, particles.filament.max() + 1).astype(bool)
    angles = np.stack([rng.uniform(0, 360, len(rows)), np.full(len(rows), 90.0), np.zeros(len(rows))], axis=1)
    return Poses(rows, polarity[particles.filament[rows]], angles, np.zeros((len(rows), 2)), np.ones(len(rows)))


def _tube(like: Volume, settings: RefinementSettings) -> Volume:
    outer_px = (settings.cylinder_outer_diameter_A or 0.0) / (2 * like.pixel_size_A)
    inner_px = (settings.cylinder_inner_diameter_A or 0.0) / (2 * like.pixel_size_A)
    return like.with_data(np.asarray(cylindrical_mask(like.shape, outer_px, inner_radius_px=inner_px)))


def _scale(map_: Float[np.ndarray, "z y x"], images_average: Float[np.ndarray, "z y x"]) -> float:
    """The factor that brings a map to the images' scale: their radial profiles are right at any azimuth."""
    profiles = [_radial_profile(m) for m in (map_, images_average)]
    first, second = (p - p.mean() for p in profiles)
    return float(first @ second / max(float(first @ first), 1e-30))


def _radial_profile(map_: Float[np.ndarray, "z y x"]) -> Float[np.ndarray, "r"]:
    y, x = (axis_coordinates(n) for n in map_.shape[1:])
    ring = np.hypot(y[:, None], x).astype(int).ravel()
    inside = ring < min(map_.shape[1:]) // 2
    mean = map_.mean(axis=0).ravel()
    return np.bincount(ring[inside], mean[inside]) / np.bincount(ring[inside])
