"""Which of several starts to go on with: chains of models, each aligned with images that it was not made of.

A model of images at random azimuths is nearly round. What images agree on when they are aligned with it may be the
molecule or their own noise, which a reference that holds them gives back to them: polarities then stay as chance left
them. Here each half-set meets models made of the other half-set alone, so that a pair of half-sets carries two chains
of models, passed from one half-set to the other. Pairs are begun anew until two chains agree, turned, shifted and
upside down as fits best: chains that went wrong seldom go wrong alike. Where none agree, that one is taken which
explains best the images that it was not made of.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Complex, Float

from helixlab.geometry import Volume
from helixlab.kernels.interpolate import sample_cylinders
from helixlab.reconstruct.expectation import SearchRange, align_images
from helixlab.reconstruct.initial_model import initial_model
from helixlab.reconstruct.masking import dynamic_mask
from helixlab.reconstruct.maximisation import accumulate, half_map, symmetrised
from helixlab.reconstruct.poses import Poses
from helixlab.reconstruct.prepare import PreparedParticles, narrowed
from helixlab.reconstruct.settings import RefinementSettings

_LINKS = 5
"""Models of a chain: polarities settle in two to four."""

_FIRST_RES_A = 15.0
"""To which the first models are looked at; the others as far as a search over the grid looks."""

_TRUST = 0.9
"""FSC that models are filtered by, up to their resolution: chains of different frames have none of their own."""

_AGREED = 0.9
"""Correlation from which on models of different half-sets hold the same molecule. A map of mixed polarities reaches
0.85 with one of one polarity, both without noise."""

_AGREED_WITHIN = 0.95
"""The same for two models of one half-set, which have their noise in common: wrong ones reached 0.93."""


@dataclass(frozen=True, eq=False)
class Start:
    """The model to go on with.

    Parameters
    ----------
    model : Volume
        Low-passed, on the images' grid and scale.
    has_agreed : bool
        Whether another chain holds the same molecule.
    agreement : float
        Highest correlation with another chain.
    n_models : int
        Pairs of chains that were begun.
    """

    model: Volume
    has_agreed: bool
    agreement: float
    n_models: int


def find_start(
    particles: PreparedParticles,
    settings: RefinementSettings,
    noise_power: Float[np.ndarray, "g s"],
    ranges: SearchRange,
    *,
    order: int,
    resolution_A: float,
    model_res_A: float,
) -> Start:
    """Pairs of chains from random azimuths, until two chains agree or the settings' number is reached.

    Parameters
    ----------
    particles : PreparedParticles
    settings : RefinementSettings
    noise_power : float array, shape (g, s)
    ranges : SearchRange
    order : int
        Maximum symmetry order.
    resolution_A : float
        To which images are looked at.
    model_res_A : float
        To which the model is low-passed in the end.
    """
    coarse = narrowed(particles, resolution_A)
    seen = _Seen(coarse, settings, noise_power[:, : coarse.last_shell + 1], ranges, order)
    rise_A = settings.symmetry.rise_A if settings.symmetry else 2 * ranges.along_A
    chains: list[_Chain] = []
    spectra: list[_Spectrum] = []
    agreement, has_agreed, number = np.zeros((0, 0)), np.zeros((0, 0), bool), 0
    while number < settings.n_initial_models and not has_agreed.any():
        pair = initial_model(coarse, settings, seen.noise_power, order=order, number=number)
        chains += seen.chains(pair)
        spectra += [_spectrum(chain.model, ranges.radius_A, resolution_A) for chain in chains[-2:]]
        agreement = np.array([[_agreement(a, b, rise_A) if a is not b else 0.0 for a in spectra] for b in spectra])
        # Every second model is of the same half-set.
        is_within = np.add.outer(np.arange(len(chains)), np.arange(len(chains))) % 2 == 0
        has_agreed = agreement >= np.where(is_within, _AGREED_WITHIN, _AGREED)
        number += 1
    # Of those that agree, or of all if none do, the one that explains most.
    candidates = np.flatnonzero(has_agreed.any(axis=0) | (not has_agreed.any()))
    best = max(candidates, key=lambda n: chains[n].log_posterior)
    poses = chains[best].poses
    poses = replace(poses, shift_px=poses.shift_px * (coarse.pixel_size_A / particles.pixel_size_A))
    model = replace(seen, particles=particles, noise_power=noise_power).model_of(poses, particles.shell_of(model_res_A))
    return Start(model, bool(has_agreed.any()), float(agreement[best].max()), number)


@dataclass(frozen=True, eq=False)
class _Chain:
    model: Volume
    poses: Poses
    log_posterior: float
    """Mean over the images that the model was made of, of the model before."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """What all chains have in common."""

    particles: PreparedParticles
    settings: RefinementSettings
    noise_power: Float[np.ndarray, "g s"]
    ranges: SearchRange
    order: int

    def chains(self, pair: tuple[Volume, Volume]) -> list[_Chain]:
        """Two chains from models of half-set 1 and of half-set 2."""
        mask = dynamic_mask(pair[0].with_data((pair[0].data + pair[1].data) / 2), self.settings).mask
        models, last = [model.with_data(model.data * mask) for model in pair], self.particles.last_shell
        links = self._links(models, min(self.particles.shell_of(_FIRST_RES_A), last), mask)
        for _ in range(_LINKS - 1):
            links = self._links([link.model for link in links], last, mask)
        return links

    def _links(self, models: list[Volume], shell: int, mask: Float[np.ndarray, "n n n"]) -> list[_Chain]:
        """Half-set 1 meets the model of half-set 2, and gives that chain its next one; and the other way round."""
        return [self._link(half, other, shell, mask) for half, other in zip((1, 2), models[::-1], strict=True)]

    def _link(self, half: int, model: Volume, shell: int, mask: Float[np.ndarray, "n n n"]) -> _Chain:
        """The model that images of a half-set make when they are aligned with a chain's last one."""
        # The grid alone: to its cells' centres poses are as near as these resolutions need.
        found = align_images(
            self.particles,
            self.particles.rows_of(half),
            jnp.asarray(model.data),
            self.noise_power,
            self.ranges,
            shells=(shell,),
            is_coherent=self.settings.filament_coherence,
        )
        made = self.model_of(found.poses, shell)
        return _Chain(made.with_data(made.data * mask), found.poses, float(found.log_posterior.mean()))

    def model_of(self, poses: Poses, shell: int) -> Volume:
        """The map of images at these poses, low-passed."""
        particles, settings = self.particles, self.settings
        total = accumulate(particles, poses, self.noise_power)
        total = symmetrised(total, settings.symmetry, settings.point_group, order=self.order, box_A=particles.box_A)
        fsc = np.where(np.arange(particles.last_shell + 1) <= shell, _TRUST, 0.0)
        return Volume(half_map(total, fsc, box_px=particles.box_px), particles.pixel_size_A)


class _Spectrum(NamedTuple):
    """A map on cylinders, without its round part."""

    waves: Complex[np.ndarray, "r m kz"]
    """Transform over φ and z, padded to twice the height."""
    energy: float
    height_A: float


def _spectrum(model: Volume, outer_radius_A: float, resolution_A: float) -> _Spectrum:
    pixel_A, box = model.pixel_size_A, model.shape[1]
    last_px = min(outer_radius_A / pixel_A, box / 2 - 1.0)
    step_px = max(1.0, resolution_A / (4 * pixel_A))
    radius_px = np.arange(step_px, last_px + step_px / 2, step_px).clip(max=last_px)
    n_phi = 4 * int(np.ceil(2 * np.pi * last_px / step_px / 4))
    cylinders = np.asarray(sample_cylinders(model.data, radius_px, n_phi)) * np.sqrt(radius_px)[:, None, None]
    uneven = cylinders - cylinders.mean(axis=1, keepdims=True)
    padded = np.pad(uneven, ((0, 0), (0, 0), (0, uneven.shape[2])))
    return _Spectrum(np.fft.fft2(padded, axes=(1, 2)), float(np.sum(uneven**2)), model.extent_A[0])


def _agreement(one: _Spectrum, two: _Spectrum, rise_A: float) -> float:
    """Correlation of two maps, one turned, shifted by up to half a rise and upside down as fits best."""
    n_z = one.waves.shape[2] // 2
    reach = min(max(1, int(np.ceil(rise_A / 2 / (one.height_A / n_z)))), n_z // 2)
    lags = np.arange(-reach, reach + 1)
    # Upside down, angles and heights run backwards: the conjugate transform, about the middle section.
    upright, inverted = (np.fft.ifft2(np.sum(a * two.waves, axis=0)).real for a in (np.conj(one.waves), one.waves))
    highest = max(upright[:, lags].max(), inverted[:, 2 * (n_z // 2) + lags].max())
    return float(highest / max(np.sqrt(one.energy * two.energy), 1e-30))
