"""What the next iteration aligns with, and how far it looks.

How far: to the frequency at which the halves agree, but by at most :data:`_GROWTH` beyond the last alignment, because
poses found at a low resolution may agree at a high one only where they are right. All maps are made up to Nyquist, so
that the FSC says what happens beyond the frequencies that were aligned on, where no reference has biased it.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from helixlab.geometry import Volume
from helixlab.kernels.fourier import fft_volume, ifft_volume, shell_numbers
from helixlab.reconstruct.masking import FilamentMask
from helixlab.reconstruct.prepare import PreparedParticles
from helixlab.reconstruct.settings import RefinementSettings
from helixlab.validate.fsc import HALF_MAP_THRESHOLD

GRID_RES_A = 12.0
"""The search over all orientations looks no further: there a filament's projections are told apart."""

FSC_FLOOR = 0.02
"""The least that the Wiener filter believes: the FSC of a finite shell is no proof of there being nothing."""

_NEAR = 1.25
"""Cells of the grid are half of its resolution wide: their centres are within reach of maxima this much finer."""

_GROWTH = 2**0.5
"""Alignment looks at most this much further than in the last iteration; the shells it ends at are powers of it apart,
so that few different sizes are compiled."""


def align_shells(particles: PreparedParticles, last: int) -> tuple[int, ...]:
    """The grid search's shell, then those of the climbs: the grid's own, unless the last is near it, and the last."""
    grid = min(particles.shell_of(GRID_RES_A), last)
    return (grid, last) if last <= _NEAR * grid else (grid, grid, last)


def next_align_shell(particles: PreparedParticles, latest: int, wanted: float) -> int:
    """The shell to align to next: the first of the ladder not below what is wanted, a step up at most.

    The ladder's shells are powers of :data:`_GROWTH` below the last shell.
    """
    n_steps = int(np.log(max(particles.last_shell, 2)) / np.log(_GROWTH))
    ladder = np.unique(np.ceil(particles.last_shell / _GROWTH ** np.arange(n_steps, -1.0, -1.0)).astype(int))
    above = ladder[ladder > latest]
    highest = above[0] if len(above) else particles.last_shell
    reaching = ladder[ladder >= min(wanted, particles.last_shell)]
    return int(min(highest, max(reaching[0], ladder[ladder <= latest][-1] if latest >= ladder[0] else ladder[0])))


def first_shared_res_A(settings: RefinementSettings) -> float:
    """Up to which resolution the halves share their reference at first.

    As far as the search over the grid looks, which decides on azimuth and polarity: halves that decide apart would
    never meet again.
    """
    return min(settings.low_resolution_join_A or GRID_RES_A, settings.gsfsc_split_res_A)


def shared_res_A(settings: RefinementSettings, is_joined: bool) -> float:
    """Up to which resolution the halves share their reference."""
    return first_shared_res_A(settings) if is_joined else settings.gsfsc_split_res_A


def trusted_fsc(fsc: Float[np.ndarray, "s"]) -> Float[np.ndarray, "s"]:
    """The FSC as the Wiener filter goes by it: nothing that comes after the first crossing counts."""
    below = np.flatnonzero(fsc[1:] < HALF_MAP_THRESHOLD) + 1
    is_after = np.arange(len(fsc)) >= (below[0] if len(below) else len(fsc))
    return np.clip(np.where(is_after, np.minimum(fsc, HALF_MAP_THRESHOLD), fsc), FSC_FLOOR, 0.999)


def joined_references(halves: tuple[Volume, Volume], join_shell: int, mask: FilamentMask) -> tuple[Volume, Volume]:
    """The half maps with their mean in place of both up to a shell, masked."""
    shape = halves[0].data.shape
    first, second = (fft_volume(jnp.asarray(half.data)) for half in halves)
    is_shared = shell_numbers(shape) <= join_shell
    mean = (first + second) / 2
    joined = (ifft_volume(jnp.where(is_shared, mean, own), shape) for own in (first, second))
    one, two = (half.with_data(np.asarray(j) * mask.mask) for half, j in zip(halves, joined, strict=True))
    return one, two
