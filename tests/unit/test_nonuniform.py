"""The local low-pass as arrays in and arrays out, against its equations written out in float64."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helixlab.errors import HelixLabError
from helixlab.kernels import nonuniform
from helixlab.kernels.nonuniform import cutoff_ladder, filter_nonuniform

LADDER = cutoff_ladder(0.12, count=5)


@pytest.mark.parametrize("shape", [(16, 16, 16), (18, 15, 13)])
def test_it_is_its_equations(shape: tuple[int, int, int]) -> None:
    half1, half2, mask = _halves(shape)
    found = filter_nonuniform(half1, half2, mask, cutoffs_per_px=LADDER)
    expected = _slowly(*(np.asarray(a, np.float64) for a in (half1, half2, mask, LADDER)))
    # Several cut-offs are chosen: otherwise the choice would be untested.
    assert len(np.unique(expected[2].round(3))) > 20
    # Rounding of float32 transforms of maps of order 1, and where two errors are equal to it, the other choice: no
    # such voxel is in these maps.
    for mine, slow in zip(found, expected, strict=True):
        assert np.abs(np.asarray(mine) - slow).max() < 1e3 * np.finfo(np.float32).eps


def test_halves_are_treated_alike() -> None:
    half1, half2, mask = _halves((16, 16, 16))
    first, second, cutoff = filter_nonuniform(half1, half2, mask, cutoffs_per_px=LADDER)
    swapped = filter_nonuniform(half2, half1, mask, cutoffs_per_px=LADDER)
    for mine, other in zip((second, first, cutoff), swapped, strict=True):
        assert np.allclose(mine, other, atol=1e-5)


def test_the_scale_of_both_maps_does_not_matter() -> None:
    half1, half2, mask = _halves((16, 16, 16))
    first, _, cutoff = filter_nonuniform(half1, half2, mask, cutoffs_per_px=LADDER)
    # A power of two: nothing is rounded differently.
    scaled, _, same = filter_nonuniform(2.0**20 * half1, 2.0**20 * half2, mask, cutoffs_per_px=LADDER)
    assert np.array_equal(cutoff, same)
    assert np.array_equal(2.0**20 * np.asarray(first), np.asarray(scaled))


def test_new_values_are_not_compiled_again() -> None:
    half1, half2, mask = _halves((12, 12, 12))
    filter_nonuniform(half1, half2, mask, cutoffs_per_px=LADDER)
    before = nonuniform._filter._cache_size()
    filter_nonuniform(half2, half1, 0.5 * mask, cutoffs_per_px=np.float32(0.9) * LADDER)
    assert nonuniform._filter._cache_size() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"half2": jnp.zeros((4, 4, 5))}, "half1: found shapes"),
        ({"mask": jnp.zeros((4, 5, 4))}, "same grid"),
        ({"cutoffs_per_px": np.array([0.2, 0.2], np.float32)}, "do not rise"),
        ({"cutoffs_per_px": np.array([0.0, 0.2], np.float32)}, "above 0"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_what_does_not_fit_is_refused(change: dict[str, Any], said: str) -> None:
    given = {"half1": jnp.zeros((4, 4, 4)), "half2": jnp.zeros((4, 4, 4)), "mask": jnp.ones((4, 4, 4))}
    with pytest.raises(HelixLabError, match=said):
        filter_nonuniform(**{**given, "cutoffs_per_px": LADDER, **change})


@pytest.mark.parametrize(("lowest", "count", "said"), [(0.5, 4, "lowest_per_px"), (0.0, 4, "0.5"), (0.1, 1, "count")])
def test_a_ladder_that_cannot_be_is_refused(lowest: float, count: int, said: str) -> None:
    with pytest.raises(HelixLabError, match=said):
        cutoff_ladder(lowest, count=count)


def _halves(shape: tuple[int, int, int]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Signal that gets weaker along x, and noise."""
    rng = np.random.default_rng(1)
    fading = np.linspace(2.0, 0.0, shape[2])
    signal = fading * rng.normal(size=shape)
    one, two = (jnp.asarray(signal + rng.normal(size=shape), jnp.float32) for _ in range(2))
    return one, two, jnp.asarray(rng.uniform(0.2, 1.0, shape), jnp.float32)


def _slowly(
    half1: np.ndarray, half2: np.ndarray, mask: np.ndarray, cutoffs: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All filtered maps and all errors at once."""
    freq = np.sqrt(sum(f**2 for f in np.meshgrid(*(np.fft.fftfreq(n) for n in mask.shape), indexing="ij")))
    low = [
        [np.fft.ifftn(np.fft.fftn(half) / np.sqrt(1 + (freq / cutoff) ** 8)).real for cutoff in cutoffs]
        for half in (half1, half2)
    ]
    error = [np.zeros_like(mask)]
    for k in range(1, len(cutoffs)):
        # Differences of squares as they stand in the paper's error, each over the neighbourhood of its step.
        change = sum(
            (filtered[k] - other) ** 2 - (filtered[k - 1] - other) ** 2
            for filtered, other in ((low[0], half2), (low[1], half1))
        )
        around = _around(mask * change, cutoffs[k]) / (_around(mask, cutoffs[k]) + 1e-3)
        error.append(error[-1] + around)
    level = np.argmin(error, axis=0)
    made = [low[0][0], low[1][0], np.full(mask.shape, cutoffs[0])]
    for k in range(1, len(cutoffs)):
        kept = _around((level >= k).astype(float), cutoffs[k])
        bands = (low[0][k] - low[0][k - 1], low[1][k] - low[1][k - 1], cutoffs[k] - cutoffs[k - 1])
        made = [total + kept * band for total, band in zip(made, bands, strict=True)]
    return made[0], made[1], made[2]


def _around(values: np.ndarray, cutoff: float) -> np.ndarray:
    for axis, n in enumerate(values.shape):
        weight = np.exp(-0.5 * (np.subtract.outer(np.arange(n), np.arange(n)) * cutoff) ** 2)
        weight /= weight.sum(axis=1, keepdims=True)
        values = np.moveaxis(np.tensordot(weight, values, axes=(1, axis)), 0, axis)
    return values
