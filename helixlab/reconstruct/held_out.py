"""Held-out likelihood: how well the map of one half-set explains the segments of the other.

It is the currency in which symmetries are compared. The FSC of half maps cannot do it: maps that were averaged over the
same wrong operators agree with each other. Segments that had no part in a map do not agree with it where it is wrong.

For a whitened image X, CTF C and slices P of the other half's map, marginalised over poses φ (orientations, shifts and
both polarities, on the grid of the coarse search, with the priors of the settings),

    log p(X) = log Σ_φ p(φ) exp(2 Σ Re(C·X·conj P_φ) − Σ C²·|P_φ|²),    Σ_φ p(φ) = 1,

without −Σ|X|², which is the same for every map: 0 is what an empty map gets. Numbers of different maps can be compared
where segments, noise, resolution and grid are the same. Neighbouring segments overlap and are no independent
witnesses: standard errors are those of whole filaments.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from helixlab.errors import HelixLabError
from helixlab.geometry import Volume
from helixlab.kernels.project import reference_transform
from helixlab.reconstruct.at_once import at_once
from helixlab.reconstruct.devices import on_all
from helixlab.reconstruct.events import IterationEvent
from helixlab.reconstruct.grid_search import SearchRange, grid_evidence
from helixlab.reconstruct.noise import image_power
from helixlab.reconstruct.prepare import PreparedParticles, narrowed
from helixlab.reconstruct.settings import RefinementSettings
from helixlab.reconstruct.state import RefinementState, search_range

_EVENT_RES_A = 12.0
"""To which the last maps of a refinement are scored."""

_SCALE_SEGMENTS = 32
"""Of each half-set, from which the scale of maps is taken: 32 to 120 gave scales that differ by 0.02, and scores that
differ by less than 0.1 per segment."""


@dataclass(frozen=True)
class Mean:
    """A mean per segment with its standard error over filaments.

    Parameters
    ----------
    value, se : float
        In natural units of log-likelihood per segment; the standard error is infinite for a single filament.
    """

    value: float
    se: float

    @classmethod
    def over_filaments(cls, values: Float[np.ndarray, "n"], filament: Int[np.ndarray, "n"]) -> "Mean":
        """Of segments, whose filaments are independent of each other.

        Notes
        -----
        With the sums d of each of F filaments' deviations from the mean, SE² = F/(F − 1) · Σ d² / n².

        Examples
        --------
        >>> Mean.over_filaments(np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1]))
        Mean(value=2.0, se=1.0)
        """
        mean = float(values.mean())
        sums = np.bincount(np.unique(filament, return_inverse=True)[1].reshape(-1), values - mean)
        count = len(sums)
        se = np.sqrt(count / (count - 1) * np.sum(sums**2)) / len(values) if count > 1 else np.inf
        return cls(mean, float(se))

    def __str__(self) -> str:
        return f"{self.value:.2f} ± {self.se:.2f}"


@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """Of every segment, on the map that it had no part in.

    Parameters
    ----------
    log_likelihood : float array, shape (n,)
    filament : int array, shape (n,)
    """

    log_likelihood: Float[np.ndarray, "n"]
    filament: Int[np.ndarray, "n"]

    @property
    def mean(self) -> Mean:
        """Per segment."""
        return Mean.over_filaments(self.log_likelihood, self.filament)

    def less(self, other: "HeldOutScores") -> Mean:
        """The mean difference from another map's scores of the same segments, paired: what both share falls out.

        Raises
        ------
        HelixLabError
            If the segments are not the same.

        Examples
        --------
        >>> filament = np.array([0, 0, 1, 1])
        >>> one = HeldOutScores(np.array([5.0, 6.0, 50.0, 60.0]), filament)
        >>> HeldOutScores(one.log_likelihood - 2.0, filament).less(one)
        Mean(value=-2.0, se=0.0)
        """
        if not np.array_equal(self.filament, other.filament):
            raise HelixLabError(
                f"held-out scores: found those of {len(self.filament)} and of {len(other.filament)} segments, or of "
                "other filaments; compare maps on the same segments."
            )
        return Mean.over_filaments(self.log_likelihood - other.log_likelihood, self.filament)


def held_out_scores(
    particles: PreparedParticles,
    references: tuple[Volume, Volume],
    noise_power: Float[np.ndarray, "g s"],
    ranges: SearchRange,
    *,
    shell: int,
) -> HeldOutScores:
    """Every segment of half-set 1 on the second map, and the other way round.

    Parameters
    ----------
    particles : PreparedParticles
    references : pair of Volume
        Of half-set 1 and 2, on the scale of the images and filtered by what is known of them. As far as the halves
        shared a reference, the scores say less of other segments.
    noise_power : float array, shape (g, s)
        Of each optics group and shell; the same for all maps that are to be compared.
    ranges : SearchRange
        Of poses; the same, too: the grid's cells are no smaller than they need be, and cost each map a little.
    shell : int
        To which the segments are looked at.

    Returns
    -------
    HeldOutScores
    """
    found = np.empty(len(particles))

    def score(half: int, reference: Volume) -> None:
        rows = particles.rows_of(half)
        found[rows] = _log_evidence(particles, rows, reference, noise_power, ranges, shell)

    at_once(score, (1, 2), references[::-1])
    return HeldOutScores(found, particles.filament)


def best_scale(
    particles: PreparedParticles,
    references: tuple[Volume, Volume],
    noise_power: Float[np.ndarray, "g s"],
    ranges: SearchRange,
    *,
    shell: int,
) -> float:
    """The factor, 0.6 to 1.25, with which maps explain the other half's segments best.

    Parameters are those of :func:`held_out_scores`; a sample of the segments is looked at.

    Notes
    -----
    On a grid of poses no segment is met quite, and of a sharp map less remains than of a blurred one: at full scale it
    would be punished for what it shows. Measured at 12 Å: 0.8 for maps with a symmetry, 1.1 without. The maximum is
    that of the cubic through four factors.
    """
    factors = np.array([0.6, 0.8, 1.0, 1.25])
    sums = np.zeros(len(factors))
    for half, reference in ((1, references[1]), (2, references[0])):
        rows = particles.rows_of(half)
        sample = rows[np.linspace(0, len(rows) - 1, min(len(rows), _SCALE_SEGMENTS)).astype(int)]
        for number, factor in enumerate(factors):
            scaled = reference.with_data(np.float32(factor) * reference.data)
            sums[number] += _log_evidence(particles, sample, scaled, noise_power, ranges, shell).mean()
    fine = np.linspace(factors[0], factors[-1], 131)
    return float(fine[np.polyval(np.polyfit(factors, sums, 3), fine).argmax()])


def with_held_out(
    event: IterationEvent, particles: PreparedParticles, state: RefinementState, settings: RefinementSettings
) -> IterationEvent:
    """The event of an iteration with the held-out scores of the references that it came to.

    At 12 Å, or as far as the images go, whatever the resolution of the maps: there wrong symmetries differ most for the
    time that it takes. What the half-sets share by then, up to the resolution of the split, counts in favour of every
    map: hypotheses are told apart by :func:`helixlab.reconstruct.compare.compare_hypotheses`, where they share nothing.
    """
    found = held_out_scores(
        particles,
        state.references,
        image_power(narrowed(particles, _EVENT_RES_A)),
        search_range(particles, settings, state.symmetry, state.mask.outer_radius_A),
        shell=particles.shell_of(_EVENT_RES_A),
    ).mean
    se = found.se if np.isfinite(found.se) else None
    return event.model_copy(update={"held_out_log_likelihood": found.value, "held_out_se": se})


def _log_evidence(
    particles: PreparedParticles,
    rows: Int[np.ndarray, "m"],
    reference: Volume,
    noise_power: Float[np.ndarray, "g s"],
    ranges: SearchRange,
    shell: int,
) -> Float[np.ndarray, "m"]:
    transform = on_all(reference_transform(jnp.asarray(reference.data), r_max=particles.last_shell))
    return np.logaddexp.reduce(grid_evidence(particles, rows, transform, noise_power, ranges, shell=shell), axis=1)
