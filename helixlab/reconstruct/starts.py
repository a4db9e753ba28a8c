"""Which of several starts to go on with: chains of models, each aligned with images that it was not made of.

A model of images at random azimuths is nearly round. What images agree on when they are aligned with it may be the
molecule or their own noise, which a reference that holds them gives back to them: polarities then stay as chance left
them. Here each half-set meets models made of the other half-set alone, so that a pair of half-sets carries two chains
of models, passed from one half-set to the other. Pairs are begun anew until two chains agree, turned, shifted and
upside down as fits best: chains that went wrong seldom go wrong alike. Where none agree, that one is taken which
explains best the images that it was not made of. Dyads come last: where they lie is read from the model.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from helixlab.geometry import HelicalSymmetry, Volume, parse_point_group
from helixlab.reconstruct.at_once import at_once
from helixlab.reconstruct.expectation import align_images
from helixlab.reconstruct.grid_search import SearchRange
from helixlab.reconstruct.initial_model import initial_model
from helixlab.reconstruct.masking import FilamentMask, dynamic_mask
from helixlab.reconstruct.maximisation import low_passed_map, mean_map
from helixlab.reconstruct.poses import Poses
from helixlab.reconstruct.prepare import PreparedParticles, narrowed
from helixlab.reconstruct.settings import RefinementSettings
from helixlab.reconstruct.state import in_place, search_range
from helixlab.reconstruct.superposition import model_waves, superposed_correlation
from helixlab.search import find_dyad, prepare_filament

_LEAST_LINKS, _LINKS = 3, 5
"""Models of a chain: polarities settle in two to four."""

_SLOWLY_A = (40.0, 40.0, 30.0, 30.0, 25.0, 25.0, 20.0, 20.0, 15.0, 15.0)
"""To which each model of a chain is looked at where no symmetry is imposed: nothing but what images agree on at a lower
resolution keeps the next one from agreeing on noise."""

_LEAST_ORDER = 5
"""Copies that are averaged at least. A symmetry that models do not have cannot tell one hand from the other; one that
is imposed on all their length holds them where it is wrong."""

AGREED = 0.9
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
    *,
    order: int,
    resolution_A: float,
    model_res_A: float,
    mask: FilamentMask | None = None,
) -> Start:
    """Pairs of chains from random azimuths, until two chains agree or the settings' number is reached.

    Parameters
    ----------
    particles : PreparedParticles
    settings : RefinementSettings
    noise_power : float array, shape (g, s)
    order : int
        Maximum symmetry order; five copies are averaged at least, as far as the box holds them.
    resolution_A : float
        To which images are looked at.
    model_res_A : float
        To which the model is low-passed in the end.
    mask : FilamentMask, optional
        Says how wide the filament is; by default the average at random azimuths does.
    """
    coarse, rng = narrowed(particles, resolution_A), np.random.default_rng(settings.seed)
    found = dynamic_mask(mean_map(initial_model(coarse, settings, noise_power, order=order)), settings)
    ranges = search_range(coarse, settings, settings.symmetry, (mask or found).outer_radius_A)
    rise_A = settings.symmetry.rise_A if settings.symmetry else 2 * ranges.along_A
    rows = [_some_filaments(coarse, half, max(1, settings.n_initial_images // 2), rng) for half in (1, 2)]
    seen = _Seen(coarse, _without_dyads(settings), noise_power, ranges, order, found.mask, (rows[0], rows[1]))
    chains: list[_Chain] = []
    agreement, has_agreed = np.zeros((0, 0)), np.zeros((0, 0), bool)
    for chains in seen.growing_chains(settings.n_initial_models):
        agreement, has_agreed = _agreements(chains, ranges.radius_A, rise_A, resolution_A)
        if has_agreed.any():
            break
    # Of those that agree, or of all if none do, the one that explains most.
    candidates = np.flatnonzero(has_agreed.any(axis=0) | (not has_agreed.any()))
    best = max(candidates, key=lambda n: chains[n].log_posterior)
    poses = chains[best].poses
    poses = replace(poses, shift_px=poses.shift_px * (coarse.pixel_size_A / particles.pixel_size_A))
    fine, shell = replace(seen, particles=particles), particles.shell_of(model_res_A)
    model = fine.model_of(poses, shell)
    if settings.symmetry is not None and settings.symmetry.is_dihedral:
        poses = _about_dyad(poses, model, settings.symmetry, ranges.radius_A)
        model = replace(fine, settings=settings).model_of(poses, shell)
    return Start(model, bool(has_agreed.any()), float(agreement[best].max()), len(chains) // 2)


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
    mask: Float[np.ndarray, "n n n"]
    rows: tuple[Int[np.ndarray, "a"], Int[np.ndarray, "b"]]

    def growing_chains(self, n_pairs: int) -> Iterator[list[_Chain]]:
        """All chains at their last links: those of the newest pair grow until the next pair is begun."""
        settled: list[_Chain] = []
        for number in range(n_pairs):
            pair = initial_model(self.particles, self.settings, self.noise_power, order=self.order, number=number)
            models, links = [model.with_data(model.data * self.mask) for model in pair], []
            shells = self._shells()
            for length, shell in enumerate(shells, start=1):
                # Half-set 1 meets the model of half-set 2, and gives that chain its next one; and the other way round.
                links = at_once(self._link, self.rows, models[::-1], (shell, shell))
                models = [link.model for link in links]
                if length >= len(shells) - _LINKS + _LEAST_LINKS:
                    yield [*settled, *links]
            settled += links

    def _shells(self) -> list[int]:
        """To which each model of a chain is looked at."""
        last = self.particles.last_shell
        if self.settings.symmetry is not None:
            return _LINKS * [last]
        return [min(self.particles.shell_of(resolution_A), last) for resolution_A in _SLOWLY_A]

    def _link(self, rows: Int[np.ndarray, "m"], model: Volume, shell: int) -> _Chain:
        """The model that images of a half-set make when they are aligned with a chain's last one."""
        # The grid alone: to its cells' centres poses are as near as these resolutions need.
        found = align_images(
            self.particles,
            rows,
            jnp.asarray(model.data),
            self.noise_power,
            self.ranges,
            shells=(shell,),
            is_coherent=self.settings.filament_coherence,
        )
        poses = in_place(found.poses, self.settings, self.ranges)
        made = self.model_of(poses, shell)
        return _Chain(made.with_data(made.data * self.mask), poses, float(found.log_posterior.mean()))

    def model_of(self, poses: Poses, shell: int) -> Volume:
        """The map of images at these poses, low-passed."""
        settings = self.settings
        return low_passed_map(
            self.particles,
            poses,
            self.noise_power,
            settings.symmetry,
            settings.point_group,
            order=max(self.order, _LEAST_ORDER),
            shell=shell,
        )


def _without_dyads(settings: RefinementSettings) -> RefinementSettings:
    """Dn as Cn: a dyad in the wrong place keeps a chain from the molecule, and two of them agree on what is wrong.

    Without a helix dyads stay: the model is not searched for them.
    """
    if settings.symmetry is None:
        return settings
    cyclic_order = parse_point_group(settings.point_group)[1]
    return settings.replaced(point_group=f"C{cyclic_order}")


def _about_dyad(poses: Poses, model: Volume, symmetry: HelicalSymmetry, radius_A: float) -> Poses:
    """The same views of a model whose best dyad lies where it belongs."""
    dyad = find_dyad(prepare_filament(model, outer_radius_A=radius_A), symmetry)
    back = np.full(len(poses), -1.0)
    return poses.moved(back * dyad.azimuth_deg, back * dyad.z_A / model.pixel_size_A)


def _some_filaments(
    particles: PreparedParticles, half: int, count: int, rng: np.random.Generator
) -> Int[np.ndarray, "m"]:
    """Rows of a half-set's filaments, drawn until there are as many images as asked for, or all."""
    rows = particles.rows_of(half)
    filament = particles.filament[rows]
    sizes, order = np.bincount(filament), rng.permutation(filament.max() + 1)
    before = np.cumsum(sizes[order]) - sizes[order]
    return rows[np.isin(filament, order[before < count])]


def _agreements(
    chains: list[_Chain], radius_A: float, rise_A: float, resolution_A: float
) -> tuple[Float[np.ndarray, "c c"], Bool[np.ndarray, "c c"]]:
    """Correlations of all pairs of models, and which are high enough."""
    waves = [model_waves(chain.model, radius_A, resolution_A) for chain in chains]
    agreement = np.array([[superposed_correlation(a, b, rise_A) if a is not b else 0.0 for a in waves] for b in waves])
    # Every second model is of the same half-set.
    is_within = np.add.outer(np.arange(len(chains)), np.arange(len(chains))) % 2 == 0
    return agreement, agreement >= np.where(is_within, _AGREED_WITHIN, AGREED)
