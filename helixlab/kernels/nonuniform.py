"""Non-uniform regularisation: a low-pass whose cut-off follows how far two half maps agree at each place.

One cut-off for a whole map keeps noise where it is worse than the average and takes detail where it is better. Here
every voxel has its own, found by cross-validation: half map 1, filtered, predicts half map 2, which was not filtered,
and the other way round. With h_k the low-pass at the k-th cut-off of a ladder, the error of the prediction is

    E_k(x) = ⟨(h_k*m₁ − m₂)² + (h_k*m₂ − m₁)²⟩

over a neighbourhood of x, and the cut-off with the smallest error is taken. Filtered noise predicts nothing and adds
its own power to E; signal lowers it by as much. In a neighbourhood of even quality a shell is kept while its FSC is
above 1/2, where a half map holds more signal than noise.

The neighbourhood grows with the wavelength. Errors taken over different neighbourhoods cannot be compared, because the
unfiltered maps' own power differs between them. What is summed up along the ladder is therefore the change that each
step brings, taken over the neighbourhood of that step,

    E_k − E_{k−1} = ⟨(h_k − h_{k−1})*m₁ · ((h_k + h_{k−1})*m₁ − 2 m₂)⟩ + the same with 1 and 2 exchanged,

in which the unfiltered power is gone. The filtered map is the sum of the bands between the cut-offs, each faded in and
out over its own neighbourhood: what is chosen becomes smooth in space, finely where the band is fine.

References
----------
Punjani, Zhang & Fleet (2020) Nat. Methods 17, 1214, doi:10.1038/s41592-020-00990-8.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from helixlab.errors import HelixLabError
from helixlab.kernels.fourier import Shape3D, radial_freq_per_px

N_CUTOFFS = 14
"""Steps of the ladder: from 20 Å to Nyquist at 2.6 Å each is a factor of 1.17."""

_EXPONENT = 8
"""Of the Butterworth filter 1/√(1 + (f/cutoff)⁸): flat below, and it rings little."""

_NEIGHBOURHOOD = 1.0
"""Standard deviation of the neighbourhood's Gaussian weight in wavelengths of the cut-off.

Its volume is that of (2√π)³ = 45 cubic wavelengths, in which the band between cut-offs a factor of 1.17 apart holds
45·(4π/3)·(1 − 1.17⁻³) = 70 independent numbers: chance makes an FSC of 0.12 of noise, far below the 1/2 it takes."""

_LEAST_MASK = 1e-3
"""Added to the part of a neighbourhood that lies in the mask; far outside it nothing speaks for any detail."""


def cutoff_ladder(lowest_per_px: float, *, count: int = N_CUTOFFS) -> Float[np.ndarray, "k"]:
    """Cut-off frequencies with equal ratios, from the lowest to Nyquist.

    Parameters
    ----------
    lowest_per_px : float
        In (0, 0.5), 1/voxel: pixel size over resolution. Kept everywhere.
    count : int
        At least 2.

    Returns
    -------
    float32 array, shape (count,)

    Raises
    ------
    HelixLabError
        If the lowest does not lie between 0 and Nyquist, or the count is below 2.

    Examples
    --------
    >>> cutoff_ladder(0.125, count=3).tolist()
    [0.125, 0.25, 0.5]
    """
    if not 0 < lowest_per_px < 0.5:
        raise HelixLabError(
            f"lowest_per_px: found {lowest_per_px}; it lies between 0 and Nyquist's 0.5: pixel size over resolution."
        )
    if count < 2:
        raise HelixLabError(f"count: found {count}; a ladder has at least 2 steps.")
    return np.geomspace(lowest_per_px, 0.5, count).astype(np.float32)


def filter_nonuniform(
    half1: Float[Array, "z y x"],
    half2: Float[Array, "z y x"],
    mask: Float[Array, "z y x"],
    *,
    cutoffs_per_px: Float[np.ndarray, "k"],
) -> tuple[Float[Array, "z y x"], Float[Array, "z y x"], Float[Array, "z y x"]]:
    """Low-pass two half maps at each place as far as they predict one another there.

    Parameters
    ----------
    half1, half2 : float32 arrays, shape (z, y, x)
        On one scale, unfiltered: the noise in them must be independent.
    mask : float32 array, shape (z, y, x)
        In [0, 1]; what lies outside has no say. The maps are not multiplied by it.
    cutoffs_per_px : float32 array, shape (k,)
        Rising, 1/voxel (:func:`cutoff_ladder`).

    Returns
    -------
    filtered1, filtered2 : float32 arrays, shape (z, y, x)
        Both with the same cut-offs.
    cutoff_per_px : float32 array, shape (z, y, x)
        The local cut-off, smooth in space.

    Raises
    ------
    HelixLabError
        If the arrays' shapes differ, or the cut-offs do not rise from above 0.

    Notes
    -----
    The choice is made from both halves and therefore shared by them: measure their FSC on the maps that come in.
    Needs about 20 volumes of memory, whatever the number of cut-offs.

    Examples
    --------
    >>> noise1, noise2 = jax.random.normal(jax.random.key(0), (2, 24, 24, 24))
    >>> ladder = cutoff_ladder(0.1, count=6)
    >>> *_, local = filter_nonuniform(noise1, noise2, jnp.ones((24, 24, 24)), cutoffs_per_px=ladder)
    >>> bool(jnp.median(local) == ladder[0])
    True
    """
    if not half1.shape == half2.shape == mask.shape:
        raise HelixLabError(
            f"half1: found shapes {half1.shape}, {half2.shape} and {mask.shape} for the half maps and the mask; all "
            "three must lie on the same grid."
        )
    if len(cutoffs_per_px) < 1 or cutoffs_per_px[0] <= 0 or (np.diff(cutoffs_per_px) <= 0).any():
        raise HelixLabError("cutoffs_per_px: found cut-offs that do not rise from above 0; make them by cutoff_ladder.")
    halves = jnp.stack([jnp.asarray(half, jnp.float32) for half in (half1, half2)])
    first, second, cutoff = _filter(halves, jnp.asarray(mask, jnp.float32), jnp.asarray(cutoffs_per_px, jnp.float32))
    return first, second, cutoff


# --- private kernels ----------------------------------------------------------------------------


@jax.jit
def _filter(
    halves: Float[Array, "2 z y x"], mask: Float[Array, "z y x"], cutoffs: Float[Array, "k"]
) -> tuple[Float[Array, "z y x"], Float[Array, "z y x"], Float[Array, "z y x"]]:
    transforms = jnp.fft.rfftn(halves, axes=(1, 2, 3))
    level = _best_level(halves, transforms, mask, cutoffs)
    shape = _shape(mask)
    lowest = _low_pass(transforms, cutoffs[0], shape)
    start = (lowest, lowest, jnp.full_like(mask, cutoffs[0]))

    def add_band(k: Int[Array, ""], carried: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        total, below, cutoff = carried
        kept = _smooth((level >= k).astype(jnp.float32), cutoffs[k])
        here = _low_pass(transforms, cutoffs[k], shape)
        return total + kept * (here - below), here, cutoff + kept * (cutoffs[k] - cutoffs[k - 1])

    total, _, cutoff = jax.lax.fori_loop(1, len(cutoffs), add_band, start)
    return total[0], total[1], cutoff


def _best_level(
    halves: Float[Array, "2 z y x"],
    transforms: Complex[Array, "2 z y xh"],
    mask: Float[Array, "z y x"],
    cutoffs: Float[Array, "k"],
) -> Int[Array, "z y x"]:
    """The step of the ladder with the smallest error of prediction at each voxel."""
    shape = _shape(mask)
    others = halves[::-1]
    zeros = jnp.zeros_like(mask)
    start = (_low_pass(transforms, cutoffs[0], shape), zeros, zeros, zeros.astype(jnp.int32))

    def try_band(k: Int[Array, ""], carried: tuple[Array, ...]) -> tuple[Array, ...]:
        below, error, least, level = carried
        here = _low_pass(transforms, cutoffs[k], shape)
        change = jnp.sum((here - below) * (here + below - 2 * others), axis=0)
        error = error + _smooth(mask * change, cutoffs[k]) / (_smooth(mask, cutoffs[k]) + _LEAST_MASK)
        is_better = error < least
        return here, error, jnp.where(is_better, error, least), jnp.where(is_better, k, level)

    return jax.lax.fori_loop(1, len(cutoffs), try_band, start)[-1]


@partial(jax.jit, static_argnames="shape")
def _low_pass(
    transforms: Complex[Array, "2 z y xh"], cutoff: Float[Array, ""], shape: Shape3D
) -> Float[Array, "2 z y x"]:
    gain = jax.lax.rsqrt(1 + (radial_freq_per_px(shape) / cutoff) ** _EXPONENT)
    return jnp.fft.irfftn(transforms * gain, s=shape, axes=(1, 2, 3))


def _smooth(values: Float[Array, "z y x"], cutoff: Float[Array, ""]) -> Float[Array, "z y x"]:
    """Mean over the neighbourhood of a cut-off; it ends where the box ends."""
    # As a product with a matrix for each axis: quicker than transforms, and nothing comes around the box's edge.
    z, y, x = (_gaussian_matrix(n, _NEIGHBOURHOOD / cutoff) for n in values.shape)
    # In all of float32's digits also where a GPU would round: a constant stays what it is.
    product = partial(jnp.einsum, precision="highest")
    return product("cx,zyx->zyc", x, product("by,zyx->zbx", y, product("az,zyx->ayx", z, values)))


def _gaussian_matrix(n: int, sd_px: Float[Array, ""]) -> Float[Array, "n n"]:
    at = jnp.arange(n, dtype=jnp.float32)
    weight = jnp.exp(-0.5 * ((at[:, None] - at) / sd_px) ** 2)
    return weight / jnp.sum(weight, axis=1, keepdims=True)


def _shape(volume: Float[Array, "z y x"]) -> Shape3D:
    nz, ny, nx = volume.shape
    return nz, ny, nx
