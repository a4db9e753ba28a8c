"""The contrast transfer function of an electron microscope, for many images at once.

Conventions. CTF(k) = scale · exp(−B|k|²/4) · sin χ(k), where

    χ = π λ |k|² Δf(α) − ½ π λ³ Cs |k|⁴ + phase shift + arcsin(amplitude contrast),
    Δf(α) = ½ (U + V + (U − V) cos 2(α − α₀)).

Underfocus is positive. χ is that of Rohou & Grigorieff (2015), eqs. 4–6; their CTF is −sin χ, for dark protein. Here as
in RELION the sign is that of images with bright protein: the CTF is positive at low frequencies. α and the defocus
angle α₀ run from +x (columns) towards +y (rows, downwards in the array).

Precision. At 300 kV, 3 µm and 1.5 Å the phase is 131 turns, of which float32 keeps 5·10⁻⁵ rad a rounding, and the
square of a frequency, a coefficient and their product are each rounded. So whole turns are taken away by products that
are exact: factors of 12 leading bits each.

References
----------
Rohou & Grigorieff (2015) J. Struct. Biol. 192, 216, doi:10.1016/j.jsb.2015.08.008.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from helixlab.errors import HelixLabError

Numbers = float | Sequence[float] | np.ndarray

_A_PER_MM = 1e7

_LEADING_BITS_MASK = -(1 << 12)
"""Clears the last 12 of the 23 stored bits of a float32: 12 leading bits remain, whose products are exact."""


@dataclass(frozen=True, eq=False)
class CtfParameters:
    """What the CTF of each image depends on; float64 arrays of shape (n,).

    Parameters
    ----------
    defocus_u_A, defocus_v_A : array
        Defocus along the two axes of the astigmatism, Å, underfocus positive.
    defocus_angle_deg : array
        From +x to the axis of U.
    voltage_kV, cs_mm : array
        Acceleration voltage, > 0, and spherical aberration.
    amplitude_contrast : array
        In [0, 1].
    phase_shift_deg : array
        Of a phase plate.
    bfactor_A2 : array
        Damps amplitudes by exp(−B|k|²/4).
    scale : array
        Of the whole function.

    Raises
    ------
    HelixLabError
        If a value is not finite or out of range; it names the field and the row.

    Examples
    --------
    >>> CtfParameters.of(defocus_u_A=[12e3, 15e3], defocus_v_A=11.5e3, defocus_angle_deg=30.0).voltage_kV.tolist()
    [300.0, 300.0]
    """

    defocus_u_A: Float[np.ndarray, "n"]
    defocus_v_A: Float[np.ndarray, "n"]
    defocus_angle_deg: Float[np.ndarray, "n"]
    voltage_kV: Float[np.ndarray, "n"]
    cs_mm: Float[np.ndarray, "n"]
    amplitude_contrast: Float[np.ndarray, "n"]
    phase_shift_deg: Float[np.ndarray, "n"]
    bfactor_A2: Float[np.ndarray, "n"]
    scale: Float[np.ndarray, "n"]

    def __post_init__(self) -> None:
        for field in fields(self):
            values = getattr(self, field.name)
            self._refuse(field.name, ~np.isfinite(values), "a finite number")
        self._refuse("voltage_kV", self.voltage_kV <= 0, "a positive voltage")
        is_fraction = (self.amplitude_contrast >= 0) & (self.amplitude_contrast <= 1)
        self._refuse("amplitude_contrast", ~is_fraction, "a fraction between 0 and 1")

    @classmethod
    def of(
        cls,
        *,
        defocus_u_A: Numbers,
        defocus_v_A: Numbers,
        defocus_angle_deg: Numbers,
        voltage_kV: Numbers = 300.0,
        cs_mm: Numbers = 2.7,
        amplitude_contrast: Numbers = 0.1,
        phase_shift_deg: Numbers = 0.0,
        bfactor_A2: Numbers = 0.0,
        scale: Numbers = 1.0,
    ) -> "CtfParameters":
        """From numbers and arrays; a number stands for all images."""
        given = (
            defocus_u_A,
            defocus_v_A,
            defocus_angle_deg,
            voltage_kV,
            cs_mm,
            amplitude_contrast,
            phase_shift_deg,
            bfactor_A2,
            scale,
        )
        return cls(*np.broadcast_arrays(*(np.atleast_1d(np.asarray(values, np.float64)) for values in given)))

    def __len__(self) -> int:
        return len(self.defocus_u_A)

    def select(self, rows: np.ndarray | slice) -> "CtfParameters":
        """The parameters of these images."""
        return CtfParameters(*(getattr(self, field.name)[rows] for field in fields(self)))

    def _refuse(self, name: str, is_bad: np.ndarray, needed: str) -> None:
        bad = np.flatnonzero(is_bad)
        if bad.size:
            raise HelixLabError(
                f"{name}: row {bad[0] + 1} ({bad.size} in all): found {getattr(self, name)[bad[0]]}; needed {needed}. "
                "Correct the table or leave these images out."
            )


class CtfCoefficients(NamedTuple):
    """The CTF as polynomials of (kx, ky) for kernels: float32 arrays of shape (n,).

    Made by :func:`ctf_coefficients`; phases are in turns, frequencies in units of the step given there.

    Parameters
    ----------
    xx_high, xx_rest, yy_high, yy_rest : array
        The factors of kx² and ky² in two parts: 12 leading bits and what they leave.
    xy, quartic, offset : array
        The factors of kx·ky and |k|⁴, and the constant.
    damping, scale : array
        The factor of |k|² in the exponent, and that of everything.
    """

    xx_high: Float[Array, "n"]
    xx_rest: Float[Array, "n"]
    yy_high: Float[Array, "n"]
    yy_rest: Float[Array, "n"]
    xy: Float[Array, "n"]
    quartic: Float[Array, "n"]
    offset: Float[Array, "n"]
    damping: Float[Array, "n"]
    scale: Float[Array, "n"]


def electron_wavelength_A(voltage_kV: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Relativistic wavelength of electrons in Å.

    Examples
    --------
    >>> electron_wavelength_A(np.array([200.0, 300.0])).round(5).tolist()
    [0.02508, 0.01969]
    """
    volts = 1e3 * np.asarray(voltage_kV, np.float64)
    # h/√(2 m e V (1 + e V/2mc²)) with the constants of nature in Å and V.
    return 12.2643247 / np.sqrt(volts * (1.0 + 0.978466e-6 * volts))


def ctf_at(parameters: CtfParameters, k_per_A: Float[ArrayLike, "f 2"]) -> Float[Array, "n f"]:
    """The CTF of every image at a list of frequencies.

    Parameters
    ----------
    parameters : CtfParameters
        Of n images.
    k_per_A : float array, shape (f, 2)
        (kx, ky) in 1/Å. Rounded to float32, which alone makes 5·10⁻⁵ at 3 µm and 1.5 Å: where the frequencies are
        whole multiples of a step use :func:`ctf_coefficients` with it, or :func:`ctf_on_grid`.

    Returns
    -------
    float32 array, shape (n, f)

    Examples
    --------
    >>> one = CtfParameters.of(defocus_u_A=2e4, defocus_v_A=2e4, defocus_angle_deg=0.0)
    >>> ctf_at(one, np.zeros((1, 2)))[0].round(3).tolist()  # the amplitude contrast
    [0.1...]
    """
    k = jnp.asarray(k_per_A, jnp.float32)
    return evaluate_ctf(ctf_coefficients(parameters), k[:, 0], k[:, 1])


def ctf_on_grid(parameters: CtfParameters, box_px: int, pixel_size_A: float) -> Float[Array, "n y xh"]:
    """The CTF of every image on the grid of ``rfft2`` of a square box, zero frequency first.

    Parameters
    ----------
    parameters : CtfParameters
        Of n images.
    box_px : int
        Edge of the image.
    pixel_size_A : float
        Å per pixel.

    Returns
    -------
    float32 array, shape (n, box_px, box_px // 2 + 1)
        Right to 10⁻⁵ at 300 kV, 3 µm and 1.5 Å, to 4·10⁻⁵ at the corners of such a grid (1.06 Å).

    Examples
    --------
    >>> two = CtfParameters.of(defocus_u_A=[1e4, 2e4], defocus_v_A=1e4, defocus_angle_deg=0.0)
    >>> ctf_on_grid(two, 64, 1.5).shape
    (2, 64, 33)
    """
    coefficients = ctf_coefficients(parameters, step_per_A=1.0 / (box_px * pixel_size_A))
    ky, kx = np.meshgrid(np.fft.fftfreq(box_px, 1.0 / box_px), np.arange(box_px // 2 + 1), indexing="ij")
    values = evaluate_ctf(coefficients, jnp.asarray(kx.ravel(), jnp.float32), jnp.asarray(ky.ravel(), jnp.float32))
    return values.reshape(len(parameters), *kx.shape)


def ctf_coefficients(parameters: CtfParameters, *, step_per_A: float = 1.0) -> CtfCoefficients:
    """The coefficients that :func:`evaluate_ctf` needs, computed in float64.

    Parameters
    ----------
    parameters : CtfParameters
        Of n images. In a frame turned by an angle (from +x towards +y) the defocus angle is less by it.
    step_per_A : float
        The unit of the frequencies, 1/Å: 1/(box · pixel size) where they are given as whole numbers, which float32
        holds exactly.

    Returns
    -------
    CtfCoefficients

    Examples
    --------
    >>> one = CtfParameters.of(defocus_u_A=2e4, defocus_v_A=2e4, defocus_angle_deg=0.0)
    >>> coefficients = ctf_coefficients(one, step_per_A=1 / 256)
    >>> evaluate_ctf(coefficients, jnp.array([0.0, 20.0]), jnp.array([0.0, 0.0])).shape
    (1, 2)
    """
    p = parameters
    wavelength_A = electron_wavelength_A(p.voltage_kV)
    quarter = 0.25 * wavelength_A * step_per_A**2
    mean, difference = p.defocus_u_A + p.defocus_v_A, p.defocus_u_A - p.defocus_v_A
    double_angle = 2.0 * np.deg2rad(p.defocus_angle_deg)
    return CtfCoefficients(
        *_leading_and_rest(quarter * (mean + difference * np.cos(double_angle))),
        *_leading_and_rest(quarter * (mean - difference * np.cos(double_angle))),
        xy=jnp.asarray(2.0 * quarter * difference * np.sin(double_angle), jnp.float32),
        quartic=jnp.asarray(0.25 * _A_PER_MM * p.cs_mm * wavelength_A**3 * step_per_A**4, jnp.float32),
        offset=jnp.asarray(p.phase_shift_deg / 360.0 + np.arcsin(p.amplitude_contrast) / (2.0 * np.pi), jnp.float32),
        damping=jnp.asarray(0.25 * p.bfactor_A2 * step_per_A**2, jnp.float32),
        scale=jnp.asarray(p.scale, jnp.float32),
    )


@jax.jit
def evaluate_ctf(coefficients: CtfCoefficients, kx: Float[Array, "f"], ky: Float[Array, "f"]) -> Float[Array, "n f"]:
    """The CTF of n images at f frequencies; the kernel behind :func:`ctf_at` and :func:`ctf_on_grid`.

    Parameters
    ----------
    coefficients : CtfCoefficients
    kx, ky : float32 array, shape (f,)
        In the step that the coefficients were made for.

    Returns
    -------
    float32 array, shape (n, f)
    """
    c = CtfCoefficients(*(values[:, None] for values in coefficients))
    squared = kx**2 + ky**2
    turns = _square_in_turns(c.xx_high, c.xx_rest, kx) + _square_in_turns(c.yy_high, c.yy_rest, ky)
    turns += c.offset + c.xy * (kx * ky) - c.quartic * squared**2
    phase_rad = 2.0 * jnp.pi * (turns - jnp.round(turns))
    return c.scale * jnp.exp(-c.damping * squared) * jnp.sin(phase_rad)


# --- private kernels ----------------------------------------------------------------------------


def _square_in_turns(high: Float[Array, "n 1"], rest: Float[Array, "n 1"], k: Float[Array, "f"]) -> Float[Array, "n f"]:
    """(high + rest)·k² modulo 1, free of the rounding of k² and of the whole turns."""
    k_high = _leading_bits(k)
    square = k_high * k_high
    square_high = _leading_bits(square)
    square_rest = (square - square_high) + (k - k_high) * (k + k_high)
    turns = high * square_high
    return (turns - jnp.round(turns)) + high * square_rest + rest * (square_high + square_rest)


def _leading_bits(values: Float[Array, "f"]) -> Float[Array, "f"]:
    bits = jax.lax.bitcast_convert_type(values, jnp.int32) & _LEADING_BITS_MASK
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def _leading_and_rest(values: Float[np.ndarray, "n"]) -> tuple[Float[Array, "n"], Float[Array, "n"]]:
    high = (values.astype(np.float32).view(np.int32) & np.int32(_LEADING_BITS_MASK)).view(np.float32)
    return jnp.asarray(high), jnp.asarray(values - high, jnp.float32)
