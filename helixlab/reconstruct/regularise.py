"""Non-uniform references: each place of the half maps filtered as far as the two agree there."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from helixlab.geometry import Volume
from helixlab.kernels.nonuniform import cutoff_ladder, filter_nonuniform

LOWEST_RES_A = 20.0
"""Kept everywhere: to here the halves share their reference in any case (the GSFSC split resolution's default)."""

_LOWEST_PER_PX = 0.4
"""Where Nyquist is near, the ladder still has room below it."""


def filtered_nonuniform(
    halves: tuple[Volume, Volume], mask: Float[np.ndarray, "z y x"]
) -> tuple[tuple[Volume, Volume], Float[np.ndarray, "z y x"]]:
    """Two half maps with the local cut-off at which each best predicts the other.

    Parameters
    ----------
    halves : pair of Volume
        As reconstructed, without filter, on one scale.
    mask : float32 array
        Of the filament: what lies outside, and beyond its ends, has no say.

    Returns
    -------
    pair of Volume
    float32 array
        The local resolution in Å.

    Notes
    -----
    This takes the place of the Wiener filter, which weighs by the FSC of the whole map. On segments of even quality
    (simulated, 6 to 8 Å) half maps that were symmetrised in real space come as close to the truth by one as by the
    other: their correlation with it beyond 20 Å differs by less than 0.01. Both one after the other weigh the same
    noise twice and fall 0.02 behind. Where quality varies this one wins.

    The half maps' FSC is to be measured before: the choice is one for both.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> one, two = (Volume(rng.normal(size=(16, 16, 16)).astype(np.float32), 4.0) for _ in range(2))
    >>> _, local_A = filtered_nonuniform((one, two), np.ones((16, 16, 16), np.float32))
    >>> round(float(np.median(local_A)))  # noise has no detail
    20
    """
    pixel_A = halves[0].pixel_size_A
    ladder = cutoff_ladder(min(pixel_A / LOWEST_RES_A, _LOWEST_PER_PX))
    one, two, cutoff = filter_nonuniform(
        jnp.asarray(halves[0].data), jnp.asarray(halves[1].data), jnp.asarray(mask), cutoffs_per_px=ladder
    )
    first, second = (half.with_data(np.asarray(made)) for half, made in zip(halves, (one, two), strict=True))
    return (first, second), pixel_A / np.asarray(cutoff)
