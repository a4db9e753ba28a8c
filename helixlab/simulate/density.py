"""Electron scattering density of atoms on a voxel grid, band-limited before it is sampled.

A map that is summed voxel by voxel from sharp atoms aliases: frequencies beyond Nyquist fold back, and folding
knows nothing of the helix, so that the map no longer repeats under its own symmetry. Here the Fourier
coefficients of the point atoms are computed first (a non-uniform FFT), then multiplied by the form factors, the
B factor and an isotropic low-pass that ends at or below Nyquist. What is sampled is band-limited, hence free of
aliasing whatever the B factor.
"""

import math

import gemmi
import numpy as np
from jaxtyping import Float

from helixlab.errors import HelixLabError

_KERNEL_WIDTH = 7
"""Grid points over which an atom is spread. With the oversampling below the error of a coefficient is about 1e-6."""

_OVERSAMPLING = 1.6
"""Nyquist frequency of the spreading grid over the highest frequency kept."""

_KERNEL_BETA = 0.97 * math.pi * _KERNEL_WIDTH * (1.0 - 0.5 / _OVERSAMPLING)
"""Shape of the kernel; Barnett, Magland & af Klinteberg (2019), eq. 4.5 with their safety factor 0.97."""

_CHUNK = 16384
"""Atoms spread at once: 16384 · 7³ indices and weights take 90 MB."""

EDGE_FRACTION = 0.2
"""Width of the low-pass's soft edge as a fraction of 1/resolution."""


def default_b_factor_A2(pixel_size_A: float) -> float:
    """The B factor that damps amplitudes to 5% at Nyquist: B = 48·pixel².

    Parameters
    ----------
    pixel_size_A : float
        Å per voxel, > 0.

    Returns
    -------
    float
        B in Å²: 69 at 1.2 Å per voxel, 139 at 1.7.

    Notes
    -----
    A B factor multiplies amplitudes by exp(−B s²/4). At Nyquist, s = 1/(2·pixel), this is exp(−B/(16·pixel²)),
    and B = 48·pixel² makes it e⁻³. Programs that sum atoms in real space need such a B, since what is left
    beyond Nyquist folds back into the map (at B ≈ 10 Å² and 1.2 Å per voxel the correlation of a filament with
    its own helical copy falls to 0.88–0.99). :func:`density_on_grid` cannot alias, whatever B; the default keeps
    the fall-off of such maps, which is also that of experimental maps at the resolution that a pixel size is
    chosen for.

    Examples
    --------
    >>> round(default_b_factor_A2(1.2)), round(default_b_factor_A2(1.7))
    (69, 139)
    """
    return 48.0 * pixel_size_A**2


def lowpass_weights(
    freq_per_A: Float[np.ndarray, "..."], resolution_A: float, pixel_size_A: float
) -> Float[np.ndarray, "..."]:
    """Weights of the soft low-pass: 1, then a cosine edge of width 0.2/resolution, then 0.

    The weight is 0.5 at 1/resolution; where the edge would reach beyond Nyquist it is moved down to end there.

    Parameters
    ----------
    freq_per_A : float array of any shape
        Spatial frequency, 1/Å, ≥ 0.
    resolution_A, pixel_size_A : float
        Å; the resolution is at least two pixels.

    Raises
    ------
    HelixLabError
        If the resolution is finer than two pixels.

    Examples
    --------
    >>> lowpass_weights(np.array([0.1, 0.2, 0.3]), 5.0, 1.0).round(3).tolist()
    [1.0, 0.5, 0.0]
    """
    last = band_limit_per_A(resolution_A, pixel_size_A)
    width = EDGE_FRACTION / resolution_A
    return 0.5 + 0.5 * np.cos(np.pi * np.clip((freq_per_A - last + width) / width, 0.0, 1.0))


def band_limit_per_A(resolution_A: float, pixel_size_A: float) -> float:
    """The frequency in 1/Å from which the low-pass is zero; never beyond Nyquist.

    Raises
    ------
    HelixLabError
        If the resolution is finer than two pixels.

    Examples
    --------
    >>> round(band_limit_per_A(5.0, 1.0), 6), band_limit_per_A(2.0, 1.0)
    (0.22, 0.5)
    """
    if not (math.isfinite(resolution_A) and resolution_A >= 2.0 * pixel_size_A * (1 - 1e-9)):
        raise HelixLabError(
            f"resolution_A: found {resolution_A}; voxels of {pixel_size_A} Å carry nothing finer than "
            f"{2 * pixel_size_A:g} Å. Give a coarser resolution or smaller voxels."
        )
    return min((1.0 + EDGE_FRACTION / 2) / resolution_A, 0.5 / pixel_size_A)


def form_factor(element: str, freq_per_A: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Electron scattering factor of the neutral atom, in Å, at spatial frequency s (not sin θ/λ = s/2).

    Parameters
    ----------
    element : str
        Chemical symbol.
    freq_per_A : float array of any shape
        1/Å, ≥ 0.

    Raises
    ------
    HelixLabError
        If the element has no tabulated factor.

    References
    ----------
    International Tables for Crystallography vol. C (2006), table 4.3.2.2, as tabulated in gemmi.

    Examples
    --------
    >>> form_factor("C", np.zeros(1)).round(3).tolist()
    [2.509]
    """
    entry = gemmi.Element(element)
    if entry.atomic_number < 1 or entry.c4322 is None:
        raise HelixLabError(
            f"element {element!r}: no electron scattering factor is tabulated; correct the element column "
            "of the model or remove these atoms."
        )
    coefficients = np.array(entry.c4322.get_coefs(), float)
    amplitudes, widths = np.split(coefficients, 2)
    quarter_s2 = 0.25 * np.asarray(freq_per_A, float)[..., None] ** 2
    return np.exp(-widths * quarter_s2) @ amplitudes


def density_on_grid(
    xyz_A: Float[np.ndarray, "n 3"],
    elements: np.ndarray,
    weights: Float[np.ndarray, "n"],
    *,
    shape: tuple[int, int, int],
    padding_px: tuple[int, int, int],
    pixel_size_A: float,
    resolution_A: float,
    b_factor_A2: float,
) -> Float[np.ndarray, "z y x"]:
    """Scattering density of atoms at the voxels of a grid, low-passed, with no aliasing.

    Parameters
    ----------
    xyz_A : float64 array, shape (n, 3)
        Positions (x, y, z) in Å; the origin is voxel ``shape // 2``.
    elements : array of str, shape (n,)
        Chemical symbols.
    weights : float64 array, shape (n,)
        Occupancies; 0 removes an atom.
    shape, padding_px : tuples (z, y, x)
        Voxels returned, and voxels added on both sides in which atoms may lie and tails may fall off. The padded
        grid is periodic.
    pixel_size_A, resolution_A, b_factor_A2 : float
        Voxel size (Å), low-pass (Å, see :func:`lowpass_weights`), B factor (Å², ≥ 0).

    Returns
    -------
    float64 array, shape ``shape``
        Scattering-factor density in Å per Å³.

    Notes
    -----
    ρ(r) = Σ_a ∫ f_a(s) exp(−B s²/4) LP(s) exp(2πi s·(r − r_a)) ds. The sum over atoms is a non-uniform FFT of
    type 1 with the kernel exp(β(√(1 − t²) − 1)), one per element.

    References
    ----------
    Barnett, Magland & af Klinteberg (2019) SIAM J. Sci. Comput. 41, C479, doi:10.1137/18M120885X.

    Examples
    --------
    >>> one = density_on_grid(np.zeros((1, 3)), np.array(["C"]), np.ones(1), shape=(9, 9, 9),
    ...     padding_px=(4, 4, 4), pixel_size_A=1.0, resolution_A=3.0, b_factor_A2=40.0)
    >>> [int(i) for i in np.unravel_index(one.argmax(), one.shape)]
    [4, 4, 4]
    """
    last = band_limit_per_A(resolution_A, pixel_size_A)
    padded = tuple(_fast_size(n + 2 * p) for n, p in zip(shape, padding_px, strict=True))
    extent_A = tuple(n * pixel_size_A for n in padded)
    fine = tuple(_fast_size(math.ceil(2.0 * _OVERSAMPLING * last * length)) for length in extent_A)

    # Frequencies that the low-pass keeps: a block of the spectrum, negative z and y frequencies behind.
    kz, ky, kx = (int(last * length) for length in extent_A)
    orders = (_signed_orders(kz), _signed_orders(ky), np.arange(kx + 1))
    sz, sy, sx = (k / length for k, length in zip(orders, extent_A, strict=True))
    s = np.sqrt(sz[:, None, None] ** 2 + sy[:, None] ** 2 + sx**2)
    envelope = lowpass_weights(s, resolution_A, pixel_size_A) * np.exp(-0.25 * b_factor_A2 * s**2)
    for axis, (k, n) in enumerate(zip(orders, fine, strict=True)):
        envelope /= np.expand_dims(_kernel_transform(k / n), [a for a in range(3) if a != axis])

    # Voxel padded//2 is the origin; grid units of the spreading grid, in the order z, y, x.
    step_A = np.array(extent_A) / fine
    centre_A = np.array([n // 2 for n in padded]) * pixel_size_A
    position = (np.asarray(xyz_A, float)[:, ::-1] + centre_A) / step_A
    spectrum = np.zeros(s.shape, complex)
    for element in np.unique(elements):
        chosen = elements == element
        grid = _spread(position[chosen], np.asarray(weights, float)[chosen], fine)
        block = np.fft.rfft(grid, axis=2)[:, :, : kx + 1]
        block = np.fft.fft(block, axis=1)[:, orders[1]]
        block = np.fft.fft(block, axis=0)[orders[0]]
        spectrum += form_factor(str(element), s) * block
    spectrum *= envelope / math.prod(extent_A)

    # Back to voxels, one axis at a time: only the rows wanted are transformed further.
    first = [n // 2 - m // 2 for n, m in zip(padded, shape, strict=True)]
    values = _inverse_axis(spectrum, 0, orders[0], padded[0])[first[0] : first[0] + shape[0]]
    values = _inverse_axis(values, 1, orders[1], padded[1])[:, first[1] : first[1] + shape[1]]
    values = np.fft.irfft(values, padded[2], axis=2) * padded[2]
    return values[:, :, first[2] : first[2] + shape[2]]


def _signed_orders(last: int) -> np.ndarray:
    """0, 1 … last, −last … −1."""
    return np.concatenate([np.arange(last + 1), np.arange(-last, 0)])


def _inverse_axis(block: np.ndarray, axis: int, orders: np.ndarray, n: int) -> np.ndarray:
    """Sum over the frequencies of one axis at n equally spaced points."""
    if len(orders) > n:  # the frequencies ±n/2 fall on one index; the low-pass is zero there
        keep = 2 * np.abs(orders) < n
        block, orders = block.compress(keep, axis), orders[keep]
    size = list(block.shape)
    size[axis] = n
    full = np.zeros(size, complex)
    full[(slice(None),) * axis + (orders,)] = block
    return np.fft.ifft(full, axis=axis) * n


def _spread(
    position: Float[np.ndarray, "n 3"], weights: Float[np.ndarray, "n"], shape: tuple[int, ...]
) -> Float[np.ndarray, "z y x"]:
    """Add every point, times the kernel, to a periodic grid."""
    grid = np.zeros(math.prod(shape))
    offsets = np.arange(_KERNEL_WIDTH)
    for start in range(0, len(position), _CHUNK):
        u = position[start : start + _CHUNK]
        lowest = np.ceil(u - _KERNEL_WIDTH / 2)
        index = (lowest[..., None] + offsets).astype(np.int64)
        value = _kernel(index - u[..., None])
        index %= np.array(shape)[:, None]
        value[:, 0] *= weights[start : start + _CHUNK, None]
        plane = index[:, 0, :, None] * shape[1] + index[:, 1, None, :]
        flat = plane[..., None] * shape[2] + index[:, 2, None, None, :]
        product = (value[:, 0, :, None] * value[:, 1, None, :])[..., None] * value[:, 2, None, None, :]
        grid += np.bincount(flat.ravel(), product.ravel(), len(grid))
    return grid.reshape(shape)


def _kernel(t: np.ndarray) -> np.ndarray:
    """The exponential of a semicircle, in units of grid points."""
    inside = np.clip(1.0 - (2.0 * t / _KERNEL_WIDTH) ** 2, 0.0, None)
    return np.exp(_KERNEL_BETA * (np.sqrt(inside) - 1.0))


def _kernel_transform(freq: np.ndarray) -> np.ndarray:
    """Its Fourier transform at frequencies in cycles per grid point, by Gauss–Legendre quadrature."""
    nodes, node_weights = np.polynomial.legendre.leggauss(64)
    t = nodes * _KERNEL_WIDTH / 2
    return np.cos(2 * np.pi * np.asarray(freq)[:, None] * t) @ (node_weights * _kernel(t)) * _KERNEL_WIDTH / 2


def _fast_size(n: int) -> int:
    """The smallest even number ≥ n with no prime factor above 5."""
    n += n % 2
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 2
