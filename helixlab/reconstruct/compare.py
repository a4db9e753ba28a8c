"""Which symmetry? Refinements at low resolution under each hypothesis, scored on held-out segments.

Under each hypothesis, and under none as a control, each half-set is refined by itself: from random azimuths, which are
the same for all hypotheses, until its map no longer changes. Twist and rise stay as they are, and copies are averaged
in Fourier space and in real space from the beginning, so that a map holds nothing but its hypothesis. Then each half's
map is scored, at the scale that suits it best, on the other half's segments (:mod:`helixlab.reconstruct.held_out`),
with what all maps share: half-sets, mask, grid of poses, and one noise spectrum, that of the images themselves.

Half-sets that share a reference, be it only at first or at low resolution, would not do: the pattern that both made of
common noise stays in their maps, and of noise alone the hypothesis with the fewest free numbers would explain most. The
FSC by which a refinement filters its maps is therefore that of the two halves of a half-set.

Of two hands of a helix one is refined: mirrored, its maps have the same projections, and so the same scores.

Images are prepared once and cut down to the band that the resolution needs, and no shape depends on twist or rise, so
that nothing is compiled again.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.ndimage import rotate

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume, wrap_deg
from helixlab.io import BadImagesError, ParticleStack, read_particles
from helixlab.reconstruct.at_once import at_once
from helixlab.reconstruct.bad_particles import bad_particles_error, usable_particles
from helixlab.reconstruct.begin import init
from helixlab.reconstruct.grid_search import SearchRange
from helixlab.reconstruct.held_out import best_scale, held_out_scores
from helixlab.reconstruct.initial_model import initial_model
from helixlab.reconstruct.masking import FilamentMask, mask_of_average
from helixlab.reconstruct.maximisation import mean_map
from helixlab.reconstruct.noise import image_power
from helixlab.reconstruct.prepare import PreparedParticles, narrowed, prepare_particles
from helixlab.reconstruct.settings import RefinementSettings
from helixlab.reconstruct.state import RefinementState, search_range, symmetry_order
from helixlab.reconstruct.step import step
from helixlab.reconstruct.verdicts import (
    LEAST_RISES,
    LEAST_SHELLS,
    HypothesisComparison,
    Kind,
    ScoredMaps,
    compare_scores,
    name_of,
)

Progress = Callable[[str, float], None]

_ALWAYS_A, _NEVER_A = 1e6, 1e-6
"""Resolutions that every map passes, and none."""

_ITERATIONS = 10
"""At most; from random azimuths the polarities of most filaments settle in two to five."""

_SETTLED, _SETTLED_CONTROL = 0.98, 0.99
"""Correlation with the last iteration's reference, round parts left out, from which on poses are settled. Another
iteration changed scores of symmetric maps by less than 0.1 per segment, those of the control by 1."""

_MODELS, _MODELS_OF_CONTROL = 2, 1
"""Pairs of initial models. A second one spares a symmetry mixed polarities; it changed the control's score by −0.8 to
0.1, where a symmetry makes differences of 4 to 10."""

_HAND_ITERATIONS = 3
"""Of a mirrored map: two until it has settled, and one that tells what it explains."""

_REPLACED = {
    "twist_deg": None,
    "rise_A": None,
    "point_group": "C1",
    "max_symmetry_order": None,
    "n_initial_models": _MODELS_OF_CONTROL,
    "use_cylindrical_model": False,
    "twist_search_range_deg": None,
    "rise_search_range_A": None,
    "symmetry_search_start_res_A": _NEVER_A,
    "realspace_symmetrize_res_A": _ALWAYS_A,
}
"""What all runs have in place of the user's settings: those of the control."""

_UNREAD = (
    *("twist_search_extent_deg", "rise_search_extent_fraction", "twist_grid", "rise_grid", "fix_search_grid"),
    *("inner_diameter_A", "cylinder_outer_diameter_A", "cylinder_inner_diameter_A"),
    *("extra_final_passes", "max_iterations_below_6A", "max_iterations"),
)
"""Settings of what comparisons leave out: searches of twist and rise, tubes, and the rules by which runs converge."""

_LEAST_FILAMENTS = 4
"""Two for each half-set."""

_TURN_DEG = 6.0
"""Step of the azimuthal average: at the rim of a filament 100 Å wide 5 Å, within the resolution."""


def compare_hypotheses(
    particles: ParticleStack | str | os.PathLike[str],
    hypotheses: Sequence[HelicalSymmetry],
    *,
    resolution_A: float = 12.0,
    settings: RefinementSettings | None = None,
    progress: Progress | None = None,
) -> HypothesisComparison:
    """Rank symmetries by how well maps made under them explain segments they have not seen.

    Parameters
    ----------
    particles : ParticleStack or path
        Segments with in-plane angles, CTF and filaments.
    hypotheses : sequence of HelicalSymmetry
        At least one.
    resolution_A : float
        To which segments are looked at. Finer separates closer values, and takes more time and data.
    settings : RefinementSettings, optional
        Priors and ranges of poses, mask, seed. What it says of symmetry, its search, initial models and when to end has
        no meaning here; :func:`ignored_settings` names it.
    progress : callable, optional
        Called with a text and the part done, 0 to 1; by threads of its own.

    Returns
    -------
    HypothesisComparison
        Each symmetry once, as it was first written, with two controls: the map without symmetry, and its round part.

    Raises
    ------
    HelixLabError
        If the particles cannot be used, a rise is too long for the box, the resolution lies beyond the images' Nyquist
        frequency, or the settings ask for a static mask.

    Notes
    -----
    Each is refined within its own range along the axis, and all are scored within the widest of them. A hypothesis's
    score depends on the others' only where half the longest rise is above the range of the map without symmetry.

    Examples
    --------
    Hypotheses take some seconds each at least; what their scores say is shown by
    :func:`helixlab.reconstruct.verdicts.compare_scores`.

    >>> compare_hypotheses("segments.star", [HelicalSymmetry(-101.1, 5.13)], resolution_A=-12.0)
    Traceback (most recent call last):
        ...
    helixlab.errors.HelixLabError: resolution_A: found -12; it is a length in Å, above 0.
    """
    settings = settings or RefinementSettings()
    report = progress or (lambda stage, fraction: None)
    if not resolution_A > 0:
        raise HelixLabError(f"resolution_A: found {resolution_A:g}; it is a length in Å, above 0.")
    stack = particles if isinstance(particles, ParticleStack) else read_particles(particles)
    _check(stack, hypotheses, resolution_A, settings)
    report("Reading images", 0.0)
    prepared = narrowed(_prepared(stack, settings), resolution_A)
    noise_power = image_power(prepared)
    _check_prepared(prepared, hypotheses, resolution_A)
    plain = _plain(settings, resolution_A)
    asked = _distinct(hypotheses)
    candidates: list[HelicalSymmetry | None] = [None, *_of_one_hand(asked)]
    order = symmetry_order(prepared, plain, plain.symmetry)
    mask = mask_of_average(mean_map(initial_model(prepared, plain, noise_power, order=order)), plain)
    plain = plain.replaced(mask="static")
    runs = []
    for number, symmetry in enumerate(candidates):
        name = name_of(symmetry)

        def tell(part: float, number: int = number, name: str = name) -> None:
            report(name, (number + part) / (len(candidates) + 1))

        runs.append(_run(prepared, _imposing(plain, symmetry), mask, tell))
    report("Scoring held-out segments", len(candidates) / (len(candidates) + 1))
    ranges = max(
        (search_range(prepared, plain, symmetry, mask.outer_radius_A) for symmetry in candidates),
        key=lambda ranges: ranges.along_A,
    )
    found = _scored(prepared, runs, noise_power, ranges, mask)
    return compare_scores([*found, *_mirrors(found, asked)])


def ignored_settings(settings: RefinementSettings) -> tuple[str, ...]:
    """Names of the settings that are not at their defaults and make no difference to :func:`compare_hypotheses`.

    All but ``outer_diameter_A``, which is not used there either: checks of the set-up take it for the filament's.

    Examples
    --------
    >>> ignored_settings(RefinementSettings(twist_deg=-101.1, rise_A=5.13, max_iterations=20, seed=3))
    ('twist_deg', 'rise_A', 'max_iterations')
    """
    ignored = {*_REPLACED, *_UNREAD, "low_resolution_join_A"}
    return tuple(name for name in settings.changes_from(RefinementSettings()) if name in ignored)


# --- before -------------------------------------------------------------------------------------


def _check(
    stack: ParticleStack,
    hypotheses: Sequence[HelicalSymmetry],
    resolution_A: float,
    settings: RefinementSettings,
) -> None:
    if not hypotheses:
        raise HelixLabError("hypotheses: found none; give at least one twist and rise.")
    if settings.mask == "static":
        raise HelixLabError(
            "settings: found mask=static; hypotheses are compared in one round mask, made from the images. Set "
            "mask=dynamic."
        )
    pixel_A = float(stack.pixel_size_A[0])
    nyquist_A = 2 * pixel_A
    if not resolution_A >= nyquist_A:
        raise HelixLabError(
            f"resolution_A: found {resolution_A:g}; images of {pixel_A:g} Å per pixel end at {nyquist_A:g} Å. Give a "
            "larger number."
        )


def _prepared(stack: ParticleStack, settings: RefinementSettings) -> PreparedParticles:
    usable, _ = usable_particles(stack, settings)
    try:
        return prepare_particles(usable, settings)
    except BadImagesError:
        raise bad_particles_error(stack) from None


def _check_prepared(particles: PreparedParticles, hypotheses: Sequence[HelicalSymmetry], resolution_A: float) -> None:
    if particles.last_shell < LEAST_SHELLS:
        raise HelixLabError(
            f"resolution_A: found {resolution_A:g}; in a box of {particles.box_A:.0f} Å it must be at most "
            f"{particles.box_A / LEAST_SHELLS:.0f}. Give a smaller number."
        )
    for half in (1, 2):
        count = len(np.unique(particles.filament[particles.rows_of(half)]))
        if count < _LEAST_FILAMENTS // 2:
            raise HelixLabError(
                f"half-sets: found {count} in half-set {half}; a comparison needs {_LEAST_FILAMENTS // 2} filaments "
                "in each. Give more filaments, or half-sets of more equal size."
            )
    for symmetry in hypotheses:
        if symmetry.rise_A * LEAST_RISES > particles.box_A:
            raise HelixLabError(
                f"hypotheses: {symmetry}: the box of {particles.box_A:.0f} Å holds fewer than {LEAST_RISES} rises. "
                "Cut larger segments, or leave it out."
            )


def _distinct(hypotheses: Sequence[HelicalSymmetry]) -> list[HelicalSymmetry]:
    """Each symmetry once, in the order given, as it was first written."""
    found: list[HelicalSymmetry] = []
    for symmetry in hypotheses:
        if symmetry not in found:
            found.append(symmetry)
    return found


def _of_one_hand(symmetries: Sequence[HelicalSymmetry]) -> list[HelicalSymmetry]:
    """Without those whose mirror image came before."""
    found: list[HelicalSymmetry] = []
    for symmetry in symmetries:
        if symmetry.mirrored() not in found:
            found.append(symmetry)
    return found


def _plain(settings: RefinementSettings, resolution_A: float) -> RefinementSettings:
    """What all runs share: the settings of the control."""
    return settings.replaced(
        **_REPLACED,
        low_resolution_join_A=resolution_A,
        gsfsc_split_res_A=max(settings.gsfsc_split_res_A, resolution_A),
    )


def _imposing(settings: RefinementSettings, symmetry: HelicalSymmetry | None) -> RefinementSettings:
    if symmetry is None:
        return settings
    return settings.replaced(
        twist_deg=symmetry.twist_deg,
        rise_A=symmetry.rise_A,
        point_group=symmetry.point_group,
        n_initial_models=_MODELS,
    )


# --- the runs -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Run:
    """What a hypothesis came to: a map of each half-set."""

    symmetry: HelicalSymmetry | None
    references: tuple[Volume, Volume]
    iterations: int
    seconds: float


def _run(
    particles: PreparedParticles, settings: RefinementSettings, mask: FilamentMask, tell: Callable[[float], None]
) -> _Run:
    start = time.perf_counter()
    halves, parts = [_half_of(particles, half) for half in (1, 2)], [0.0, 0.0]

    def settled(number: int) -> RefinementState:
        def tell_half(part: float) -> None:
            parts[number] = part
            tell(sum(parts) / 2)

        return _settled(halves[number], settings, mask, tell_half)

    one, two = at_once(settled, (0, 1))
    return _Run(
        settings.symmetry,
        (_reference(one), _reference(two)),
        max(one.iteration, two.iteration),
        time.perf_counter() - start,
    )


def _half_of(particles: PreparedParticles, half: int) -> PreparedParticles:
    """One half-set in the place of all: its own halves are every other of its filaments, the other images in neither.

    Nothing of the images is copied.
    """
    is_mine = particles.half_set == half
    number = np.unique(particles.filament[is_mine], return_inverse=True)[1].reshape(-1)
    half_set = np.zeros_like(particles.half_set)
    half_set[is_mine] = number % 2 + 1
    return replace(particles, half_set=half_set)


def _settled(
    particles: PreparedParticles, settings: RefinementSettings, mask: FilamentMask, tell: Callable[[float], None]
) -> RefinementState:
    """From random azimuths until the reference stays as it is; of the better hand."""
    state = init(particles, settings, mask=mask)
    likeness, settled = 0.0, _SETTLED_CONTROL if settings.symmetry is None else _SETTLED
    while not likeness >= settled and state.iteration < _ITERATIONS:
        tell(state.iteration / _ITERATIONS)
        last = state
        state, _ = step(particles, state, settings)
        likeness = _likeness(last, state)
    if settings.symmetry is None or not _is_near_its_mirror_image(settings.symmetry, particles, mask):
        return state
    return _of_the_better_hand(particles, state, settings)


def _is_near_its_mirror_image(symmetry: HelicalSymmetry, particles: PreparedParticles, mask: FilamentMask) -> bool:
    """Whether maps of both twists differ by less than the resolution even at the segments' ends.

    29.4° under C6 and a rise of 21.8 Å is an example: its mirror image has 30.6°.
    """
    twice_rad = np.deg2rad(abs(wrap_deg(2 * symmetry.twist_deg, 360.0 / symmetry.cyclic_order)))
    steps = particles.box_A / 2 / symmetry.rise_A
    return bool(twice_rad * steps * mask.outer_radius_A < particles.resolution_A(particles.last_shell))


def _of_the_better_hand(
    particles: PreparedParticles, state: RefinementState, settings: RefinementSettings
) -> RefinementState:
    """A map of the wrong hand under nearly the right twist keeps it: both hands are refined, and the images decide."""
    # The box is odd: its middle stays where it is.
    mirrored = tuple(r.with_data(np.ascontiguousarray(r.data[::-1])) for r in state.references)
    hands = [state, replace(state, references=mirrored)]
    for _ in range(_HAND_ITERATIONS):
        hands = [step(particles, hand, settings)[0] for hand in hands]
    return max(hands, key=lambda hand: hand.log_posterior)


def _reference(state: RefinementState) -> Volume:
    """The map of all images of a run."""
    return mean_map(state.references)


def _likeness(last: RefinementState, new: RefinementState) -> float:
    """Correlation of the references of two iterations, without what is round in them."""
    first, second = (_reference(state).data for state in (last, new))
    uneven = [(data - _round_part(data, new.mask)).ravel() for data in (first, second)]
    return float(np.corrcoef(uneven)[0, 1])


def _round_part(data: Float[np.ndarray, "n n n"], mask: FilamentMask) -> Float[np.ndarray, "n n n"]:
    """The mean of a masked map along its axis and round it, as long as the mask."""
    middle = len(data) // 2
    along = mask.mask[:, middle, middle]
    mean = data.sum(axis=0) / along.sum()
    # The box is odd: its middle is the origin.
    turns = [rotate(mean, angle_deg, reshape=False, order=3) for angle_deg in np.arange(0.0, 360.0, _TURN_DEG)]
    return (along[:, None, None] * np.mean(turns, axis=0)).astype(np.float32)


# --- the scores ---------------------------------------------------------------------------------


def _scored(
    particles: PreparedParticles,
    runs: Sequence[_Run],
    noise_power: Float[np.ndarray, "g s"],
    ranges: SearchRange,
    mask: FilamentMask,
) -> list[ScoredMaps]:
    """The maps of all runs, of which the first is the control, and the control's round part."""

    def scored(kind: Kind, run: _Run, references: tuple[Volume, Volume], ranges: SearchRange) -> ScoredMaps:
        start = time.perf_counter()
        scale = best_scale(particles, references, noise_power, ranges, shell=particles.last_shell)
        one, two = (r.with_data(np.float32(scale) * r.data) for r in references)
        scores = held_out_scores(particles, (one, two), noise_power, ranges, shell=particles.last_shell)
        seconds = run.seconds + time.perf_counter() - start
        return ScoredMaps(kind, run.symmetry, scores, run.iterations, seconds)

    found = [scored("asymmetric" if run.symmetry is None else "helical", run, run.references, ranges) for run in runs]
    control = runs[0]
    one, two = (r.with_data(_round_part(r.data, mask)) for r in control.references)
    # Every rot sees the same of it.
    return [*found, scored("round", control, (one, two), replace(ranges, cyclic_order=360))]


def _mirrors(found: Sequence[ScoredMaps], asked: Sequence[HelicalSymmetry]) -> list[ScoredMaps]:
    """What was asked for and not refined: mirror images of what was."""
    scored = [maps.symmetry for maps in found]
    return [
        replace(found[scored.index(symmetry.mirrored())], symmetry=symmetry, seconds=0.0)
        for symmetry in asked
        if symmetry not in scored
    ]
