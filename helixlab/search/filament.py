"""A map made ready for the search: on cylinders, weighted, correlated with itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.kernels.correlate import Correlation, correlate_halves, correlate_map, departure_noise
from helixlab.kernels.fourier import apply_shell_weights, shell_correlation, shell_freqs_per_A
from helixlab.kernels.interpolate import even_smooth_number, sample_cylinders
from helixlab.kernels.lags import LagLimits, fold
from helixlab.kernels.masks import cylindrical_mask

_MAX_LAG_FRACTION = 0.7
"""Longest lag as a part of the map's length: beyond it less than a third of the map overlaps."""

_MIN_ARC_FACTOR = 0.7
"""Shortest lag in units of the resolution: half the width of the peak that a feature makes with itself."""

_RIM_SIGMAS = 4.0
"""Energy in the solvent may vary by chance: so many standard deviations are not taken for the filament."""

_EDGE_FRACTION = 0.06
"""Part of the length over which the window falls to zero at either end: sub-voxel shifts need a soft end."""

_HALF_MAP_EDGE_FRACTION = 0.25
"""The same for half maps, whose ends are made of the rims of segments: of what the CTF moved out of the boxes, and into
them. Where these counted in full, rises came out up to half a per cent too long in boxes of 192 Å."""

_SOLVENT_PX = 8.0
"""Voxels round the filament that it takes to judge the noise of a single map."""

_NOISY_PART = 0.05
"""A single map is filtered when noise makes up more than this part of its power."""

_LOST_PART = 0.25
"""Beyond the last shell of a single map in which at least this part is signal nothing is used."""

_PROFILE_FRACTION = 0.02
"""The outer radius is where the energy per area falls to this part of its greatest value."""


@dataclass(frozen=True, eq=False)
class Filament:
    """The correlation of a filament with itself, and what is needed to read it.

    Parameters
    ----------
    correlation : Correlation
        Of the map, or between two half maps.
    limits : LagLimits
        Which lags count.
    pixel_size_A, length_A, inner_radius_A, outer_radius_A : float
        Å.
    resolution_A : float
        FSC 0.143 of half maps in the cylinder; of one map the frequency below which 99.9% of its power lies.
    has_half_maps : bool
        Without them noise is judged from the departure from the symmetry found.
    """

    correlation: Correlation
    limits: LagLimits
    pixel_size_A: float
    length_A: float
    inner_radius_A: float
    outer_radius_A: float
    resolution_A: float
    has_half_maps: bool
    cylinders: tuple[Float[Array, "r phi z"], ...] = field(repr=False)
    radius_px: Float[np.ndarray, "r"] = field(repr=False)
    window: Float[np.ndarray, "z"] = field(repr=False)

    @property
    def max_lag_A(self) -> float:
        """Longest shift along the axis that is compared."""
        return float(self.limits.max_z_A)

    @property
    def n_phi(self) -> int:
        """Angular samples of the cylinders."""
        return self.cylinders[0].shape[1]

    def with_map(self, data: Float[np.ndarray, "z y x"]) -> "Filament":
        """Another map, alone, on the same cylinders."""
        cylinder = sample_cylinders(data, self.radius_px, self.n_phi)
        correlation = _correlated([cylinder], self.radius_px, self.window, self.pixel_size_A)
        return replace(self, correlation=correlation, cylinders=(cylinder,), has_half_maps=False)

    def folded(self, order: int) -> Correlation:
        """The correlation averaged over the turns of C``order``."""
        return fold(self.correlation, jnp.float32(order)) if order > 1 else self.correlation

    def with_departure_noise(self, symmetry: HelicalSymmetry) -> "Filament":
        """For a single map: noise estimated from the departure from ``symmetry``."""
        rise_px = symmetry.rise_A / self.pixel_size_A
        noise = departure_noise(
            self.cylinders[0],
            jnp.asarray(self.radius_px, jnp.float32),
            jnp.asarray(self.window),
            jnp.float32(symmetry.twist_deg),
            jnp.float32(rise_px),
            jnp.float32(symmetry.cyclic_order),
            n_phi=self.n_phi,
            n_steps=_bucket(len(self.window) / rise_px),
        )
        return replace(self, correlation=self.correlation._replace(noise=noise))


def prepare_filament(
    volume: Volume,
    half2: Volume | None = None,
    *,
    inner_radius_A: float | None = None,
    outer_radius_A: float | None = None,
) -> Filament:
    """Sample a map about its z axis and correlate it with itself over all turns and shifts.

    Half maps are filtered first so that each shell counts by what it is worth: with FSC f and noise power N the
    product of the halves is weighted by f/(1 + f)/N, the weight of least variance.

    Parameters
    ----------
    volume : Volume
        A map, or half map 1.
    half2 : Volume, optional
        Half map 2 on the same grid.
    inner_radius_A, outer_radius_A : float, optional
        Where the filament lies; by default from the axis to where its density ends.

    Raises
    ------
    HelixLabError
        If the halves' grids differ, a radius does not fit the box, or the map is constant.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> noise = Volume(rng.normal(size=(32, 32, 32)).astype(np.float32), 2.0)
    >>> prepare_filament(noise).length_A
    64.0
    """
    check_maps(volume, half2)
    volume, half2 = normalised(volume), None if half2 is None else normalised(half2)
    maps = [volume.data] if half2 is None else [volume.data, half2.data]
    widest_px = min(volume.shape[1:]) / 2 - 1
    window = soft_window(volume.shape[0], _EDGE_FRACTION if half2 is None else _HALF_MAP_EDGE_FRACTION)
    rough = [sample_cylinders(m, np.arange(1.0, widest_px + 0.5), _even_angles(widest_px)) for m in maps]
    found_px = _outer_radius_px(rough, window)
    del rough  # half of the memory that is needed here
    outer_px = found_px if outer_radius_A is None else outer_radius_A / volume.pixel_size_A
    inner_px = (inner_radius_A or 0.0) / volume.pixel_size_A
    if not (np.isfinite(outer_px) and outer_px > 0 and np.isfinite(inner_px) and inner_px >= 0):
        raise HelixLabError(
            f"outer_radius_A, inner_radius_A: found {outer_radius_A} and {inner_radius_A}; radii are finite lengths "
            "in Å, the outer one above 0."
        )
    if outer_px > widest_px + 1e-6:
        raise HelixLabError(
            f"outer_radius_A: found {outer_px * volume.pixel_size_A:.1f} Å; the box holds a cylinder of at most "
            f"{widest_px * volume.pixel_size_A:.1f} Å radius."
        )
    radius_px = np.arange(max(1.0, np.ceil(inner_px)), outer_px + 0.5)
    if len(radius_px) < 3:
        raise HelixLabError(
            f"inner_radius_A: found {inner_px * volume.pixel_size_A:.1f} Å with an outer radius of "
            f"{outer_px * volume.pixel_size_A:.1f} Å; at least 3 voxels of {volume.pixel_size_A} Å must lie between."
        )
    if half2 is None:
        maps, resolution_A = _weighted_map(volume, outer_px, found_px, widest_px)
    else:
        maps, resolution_A = _weighted_halves(volume, half2, outer_px)
    n_phi = _even_angles(radius_px[-1])
    cylinders = tuple(sample_cylinders(m, radius_px, n_phi) for m in maps)
    correlation = _correlated(cylinders, radius_px, window, volume.pixel_size_A)
    if not float(correlation.section_energy.sum()) > 0:
        raise HelixLabError(
            "volume: found no density that the two halves share inside the cylinder; "
            "check that both are half maps of one filament, and the radii."
        )
    outer_A, length_A = float(radius_px[-1]) * volume.pixel_size_A, volume.extent_A[0]
    limits = LagLimits(
        jnp.float32(_MAX_LAG_FRACTION * length_A),
        jnp.float32(_MIN_ARC_FACTOR * resolution_A),
        jnp.float32(_rms_radius(cylinders[0], radius_px) * volume.pixel_size_A),
    )
    return Filament(
        correlation,
        limits,
        volume.pixel_size_A,
        length_A,
        float(radius_px[0] - 1.0) * volume.pixel_size_A,
        outer_A,
        resolution_A,
        half2 is not None,
        cylinders,
        radius_px,
        window,
    )


def _correlated(
    cylinders: Sequence[Float[Array, "r phi z"]],
    radius_px: Float[np.ndarray, "r"],
    window: Float[np.ndarray, "z"],
    pixel_size_A: float,
) -> Correlation:
    """The correlation of one map with itself, or between two half maps."""
    radius, weight, scale = jnp.asarray(radius_px, jnp.float32), jnp.asarray(window), jnp.float32(pixel_size_A)
    correlate = correlate_map if len(cylinders) == 1 else correlate_halves
    return correlate(*cylinders, radius, weight, scale, n_phi=cylinders[0].shape[1])


def soft_window(n: int, edge_fraction: float = _EDGE_FRACTION) -> Float[np.ndarray, "n"]:
    """One along the filament, falling to zero as a cosine over a part of its length at either end."""
    distance = np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5)
    edge = max(edge_fraction * n, 3.0)
    return (0.5 - 0.5 * np.cos(np.pi * np.minimum(distance / edge, 1.0))).astype(np.float32)


def normalised(volume: Volume) -> Volume:
    """The map with mean 0 and standard deviation 1: half maps may come on different grey scales."""
    data = volume.data.astype(np.float64)
    return volume.with_data(((data - data.mean()) / data.std()).astype(np.float32))


def check_maps(volume: Volume, half2: Volume | None) -> None:
    """Raise an error if a map is too small or constant, or two are no pair of half maps."""
    if min(volume.shape) < 16:
        raise HelixLabError(
            f"volume: found a box of {volume.shape} voxels; a search needs at least 16 along each axis."
        )
    for name, one in (("volume", volume), ("half2", half2)):
        if one is not None and np.ptp(one.data) == 0:
            raise HelixLabError(f"{name}: found the same density everywhere; a search needs a map with some structure.")
    if half2 is not None and np.array_equal(volume.data, half2.data):
        raise HelixLabError("half2: found the same map as half map 1; give the other half, or one map alone.")
    if half2 is not None and (volume.shape != half2.shape or abs(volume.pixel_size_A / half2.pixel_size_A - 1) > 1e-4):
        raise HelixLabError(
            f"half2: found {half2.shape} voxels of {half2.pixel_size_A} Å; half map 1 has {volume.shape} of "
            f"{volume.pixel_size_A} Å. Give two half maps on one grid."
        )


def _even_angles(radius_px: float) -> int:
    """Angles so that a step is at most a voxel at this radius."""
    return even_smooth_number(max(64, 2 * int(np.ceil(np.pi * radius_px))))


def _outer_radius_px(cylinders: list[Float[Array, "r phi z"]], window: Float[np.ndarray, "z"]) -> float:
    """Where the energy per area falls to a fiftieth of its greatest value above that of the solvent."""
    profile = np.asarray(_shared_energy(cylinders[0], cylinders[-1], jnp.asarray(window)), np.float64)
    profile = np.convolve(np.pad(profile, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    # Solvent: what is left at the rim of the box. A filament as wide as the box leaves none.
    rim = profile[-max(3, len(profile) // 6) :]
    above = profile - max(float(np.median(rim)), 0.0)
    inside = np.nonzero(above > max(_PROFILE_FRACTION * above.max(), _RIM_SIGMAS * rim.std()))[0]
    if not len(inside) or above.max() <= 0:
        return float(len(profile))
    return float(min(inside[-1] + 3, len(profile)))


@jax.jit
def _shared_energy(
    first: Float[Array, "r phi z"], last: Float[Array, "r phi z"], window: Float[Array, "z"]
) -> Float[Array, "r"]:
    """Per area of each cylinder, what two maps have in common."""
    first, last = (c - (c.mean(axis=1) @ window / window.sum())[:, None, None] for c in (first, last))
    return jnp.mean(first * last, axis=1) @ window**2


def _rms_radius(cylinder: Float[Array, "r phi z"], radius_px: Float[np.ndarray, "r"]) -> float:
    """Energy-weighted root mean square radius, in voxels."""
    energy = np.asarray(cylinder.var(axis=(1, 2)), np.float64) * radius_px
    return float(np.sqrt(np.sum(energy * radius_px**2) / max(energy.sum(), 1e-30)))


def _weighted_map(
    volume: Volume, outer_px: float, solvent_px: float, widest_px: float
) -> tuple[list[Float[np.ndarray, "z y x"]], float]:
    """A single map, filtered by what its solvent says of its noise, and its resolution.

    With noise power N (per term, from the solvent round the filament) in the power P of the filament the filter is
    Wiener's, 1 − N/P. A map with clean solvent, or without any in the box, is left as it is; its resolution is then
    the frequency below which 99.9% of its power lies, otherwise the last at which a quarter is signal: between layer
    lines the signal may be gone and come back.
    """
    # Soft ends: where the box cuts the filament it would show frequencies that the map does not have.
    ends = {"z_fraction": 0.6, "edge_px": max(5.0, 0.15 * volume.shape[0])}
    power = power_per_term(volume, cylindrical_mask(volume.shape, outer_px, **ends))
    if not power[1:].sum() > 0:
        raise HelixLabError(
            "volume: found no density inside the cylinder; check the radii, and that the filament lies along z."
        )
    freq = shell_freqs_per_A(volume.shape, volume.pixel_size_A)
    solvent_px = max(outer_px, solvent_px)
    if widest_px - solvent_px > _SOLVENT_PX:
        ring = {"inner_radius_px": solvent_px + 3.0, "z_fraction": 0.6, "edge_px": 3.0}
        noise = power_per_term(volume, cylindrical_mask(volume.shape, widest_px, **ring))
        wiener = smoothed(np.clip(1.0 - smoothed(noise) / np.maximum(smoothed(power), 1e-30), 0.0, 1.0))
        kept = np.nonzero(wiener >= _LOST_PART)[0]
        terms = np.arange(len(power)) ** 2.0
        # The floor at high frequency: what shows at low ones alone may be the filament's own rim.
        floor = np.median(noise[-len(noise) // 4 :])
        is_noisy = floor * terms.sum() > _NOISY_PART * np.sum(power * terms)
        if is_noisy and len(kept) and kept[-1] < len(wiener) - 1:
            wiener[kept[-1] + 1 :] = 0.0
            filtered = np.asarray(apply_shell_weights(volume.data, wiener.astype(np.float32)))
            return [filtered], float(1.0 / freq[max(kept[-1], 1)])
    shells = np.cumsum(power[1:] * np.arange(1.0, len(power)) ** 2)
    shell = 1 + int(np.searchsorted(shells, 0.999 * shells[-1]))
    return [volume.data], float(1.0 / freq[min(shell, len(shells))])


def power_per_term(volume: Volume, mask: Float[Array, "z y x"]) -> Float[np.ndarray, "s"]:
    """Mean power of the terms of each shell, per voxel of the mask."""
    data = jnp.asarray(volume.data)
    _, power, _ = shell_correlation(data, data, mask)
    _, white, _ = shell_correlation(*_unit_noise(mask.shape), mask)
    return np.asarray(power, np.float64) / np.maximum(np.asarray(white, np.float64), 1e-30)


def _weighted_halves(half1: Volume, half2: Volume, outer_px: float) -> tuple[list[Float[np.ndarray, "z y x"]], float]:
    first, second = jnp.asarray(half1.data), jnp.asarray(half2.data)
    mask = cylindrical_mask(half1.shape, outer_px)
    cross, power1, power2 = (np.asarray(a, np.float64) for a in shell_correlation(first, second, mask))
    mean_power = np.maximum((power1 + power2) / 2, 1e-30)
    fsc = smoothed(np.clip(cross / np.maximum(np.sqrt(power1 * power2), 1e-30), 0.0, 1.0))
    below = np.nonzero(fsc[1:] < 0.143)[0]
    last = int(below[0]) if len(below) else len(fsc) - 1
    if last < 2:
        raise HelixLabError(
            "half2: found no shell in which the half maps agree (FSC below 0.143 from the start); "
            "check that both are half maps of one reconstruction in the same position."
        )
    # Noise power per term (shells differ in their number), bounded below: hardly noisy halves are not whitened.
    _, terms, _ = (np.asarray(a, np.float64) for a in shell_correlation(*_unit_noise(half1.shape), mask))
    noise = smoothed(mean_power * (1 - fsc)) / np.maximum(terms, 1e-30)
    noise = np.maximum(noise, 1e-3 * np.max(mean_power[1:] / np.maximum(terms[1:], 1e-30)))
    fsc[last + 1 + max(2, last // 5) :] = 0.0
    weights = np.sqrt(fsc / (1 + fsc) / (noise / noise[1:].max()))
    weights[0] = 0.0
    filtered = [np.asarray(apply_shell_weights(m, weights.astype(np.float32))) for m in (first, second)]
    freq = shell_freqs_per_A(half1.shape, half1.pixel_size_A)
    return filtered, float(1.0 / freq[max(last, 1)])


def _unit_noise(shape: tuple[int, ...]) -> tuple[Float[Array, "z y x"], Float[Array, "z y x"]]:
    noise = jnp.asarray(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))
    return noise, noise


def smoothed(curve: Float[np.ndarray, "s"]) -> Float[np.ndarray, "s"]:
    """A curve over shells, averaged with its neighbours."""
    return np.convolve(np.pad(curve, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")


def _bucket(n: float) -> int:
    """The next power of two, at least 16: few different sizes, few compilations."""
    return max(16, 1 << int(np.ceil(np.log2(max(n, 1.0)))))
