"""The CTF against a float64 implementation of its own, its zeros, and what bad parameters are told."""

import numpy as np
import pytest

from helixlab.errors import HelixLabError
from helixlab.kernels.ctf import (
    CtfParameters,
    ctf_at,
    ctf_coefficients,
    ctf_on_grid,
    electron_wavelength_A,
    evaluate_ctf,
)


def reference_ctf(p: CtfParameters, kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
    """Rohou & Grigorieff (2015), eqs. 2-6, in float64 and with their words; the sign is turned for bright protein."""
    out = []
    for i in range(len(p)):
        momentum_term = p.voltage_kV[i] * 1e3 * (1 + 0.978466e-6 * p.voltage_kV[i] * 1e3)
        wavelength = 12.2643247 / np.sqrt(momentum_term)
        g, azimuth = np.hypot(kx, ky), np.arctan2(ky, kx)
        astigmatism = (p.defocus_u_A[i] - p.defocus_v_A[i]) * np.cos(2 * (azimuth - np.deg2rad(p.defocus_angle_deg[i])))
        defocus = 0.5 * (p.defocus_u_A[i] + p.defocus_v_A[i] + astigmatism)
        chi = np.pi * wavelength * g**2 * (defocus - 0.5 * wavelength**2 * g**2 * p.cs_mm[i] * 1e7)
        chi += np.deg2rad(p.phase_shift_deg[i])
        w2 = p.amplitude_contrast[i]
        minus_ctf = -np.sqrt(1 - w2**2) * np.sin(chi) - w2 * np.cos(chi)
        out.append(-p.scale[i] * minus_ctf * np.exp(-p.bfactor_A2[i] * g**2 / 4))
    return np.array(out)


VARIED = CtfParameters.of(
    defocus_u_A=[30_137.7, 8_000.0, 15_500.0, -4_000.0],
    defocus_v_A=[29_587.7, 8_600.0, 11_500.0, -4_300.0],
    defocus_angle_deg=[33.3, -71.0, 160.0, 0.0],
    voltage_kV=[300.0, 200.0, 300.0, 250.0],
    cs_mm=[2.7, 1.4, 0.01, 2.0],
    amplitude_contrast=[0.1, 0.07, 0.0, 1.0],
    phase_shift_deg=[0.0, 90.0, 35.0, 10.0],
    bfactor_A2=[0.0, 40.0, 5.0, 0.0],
    scale=[1.0, 0.8, 1.0, 1.2],
)


@pytest.mark.parametrize(("box_px", "pixel_A"), [(128, 0.75), (125, 0.75), (64, 2.6)])
def test_grid_agrees_with_float64(box_px: int, pixel_A: float) -> None:
    ky, kx = np.meshgrid(np.fft.fftfreq(box_px, pixel_A), np.fft.rfftfreq(box_px, pixel_A), indexing="ij")
    found = np.asarray(ctf_on_grid(VARIED, box_px, pixel_A), np.float64)
    # Rounding left: the quartic term, up to 45 turns at |k| = 1/(1.06 Å), 4 roundings of 6e-8 each -> 1e-4 rad.
    assert np.abs(found - reference_ctf(VARIED, kx, ky)).max() < 1e-4


def test_phase_at_300_kV_3_um_and_one_and_a_half_angstrom() -> None:
    first = VARIED.select(slice(0, 1))
    box_px, pixel_A = 1000, 0.75
    angle = np.linspace(0, 2 * np.pi, 400)
    whole = np.rint(500 * np.stack([np.cos(angle), np.sin(angle)]))
    coefficients = ctf_coefficients(first, step_per_A=1 / (box_px * pixel_A))
    found = np.asarray(evaluate_ctf(coefficients, *np.float32(whole)), np.float64)
    # 131 + 10 turns: float32 without care is off by 2e-4.
    assert np.abs(found - reference_ctf(first, *(whole / (box_px * pixel_A)))).max() < 3e-5


def test_list_of_frequencies_agrees_with_float64_and_the_grid() -> None:
    k = np.random.default_rng(0).uniform(-0.3, 0.3, (500, 2)).astype(np.float32)
    found = np.asarray(ctf_at(VARIED, k), np.float64)
    assert np.abs(found - reference_ctf(VARIED, *k.T.astype(np.float64))).max() < 3e-5
    on_grid = np.asarray(ctf_on_grid(VARIED, 32, 2.0))
    assert np.allclose(ctf_at(VARIED, np.array([[3 / 64, -5 / 64]]))[:, 0], on_grid[:, -5, 3], atol=1e-5)


def test_zeros_lie_where_the_formula_has_them() -> None:
    """Without aberration and amplitude contrast sin(π λ Δf k²) vanishes at k² = m/(λ Δf)."""
    plain = {"defocus_angle_deg": 0.0, "cs_mm": 0.0, "amplitude_contrast": 0.0}
    m = np.arange(1, 20)
    k_per_A = np.sqrt(m / (electron_wavelength_A(np.array([300.0])) * 15_000))
    k = np.stack([k_per_A, 0 * k_per_A], 1)
    in_focus_plane = CtfParameters.of(defocus_u_A=15e3, defocus_v_A=9e3, **plain)
    # dχ/dk · k's own rounding: 2·19π·6e-8.
    assert np.abs(ctf_at(in_focus_plane, k)).max() < 1e-5
    # U lies along x: along y the same holds with V.
    assert np.abs(ctf_at(in_focus_plane, k[:, ::-1] * np.sqrt(15 / 9))).max() < 1e-5
    # A quarter turn of a phase plate moves the zeros to the extrema, the first of them positive.
    with_plate = CtfParameters.of(defocus_u_A=15e3, defocus_v_A=15e3, phase_shift_deg=90.0, **plain)
    assert np.allclose(ctf_at(with_plate, k), [(-1.0) ** m], atol=1e-5)


def test_protein_is_bright_at_low_frequencies() -> None:
    underfocused = CtfParameters.of(defocus_u_A=2e4, defocus_v_A=2e4, defocus_angle_deg=0.0)
    assert float(ctf_at(underfocused, np.array([[0.0, 0.0]]))[0, 0]) == pytest.approx(0.1)
    assert float(ctf_at(underfocused, np.array([[0.01, 0.01]]))[0, 0]) > 0.1


def test_turned_frame_has_the_smaller_defocus_angle() -> None:
    turn = np.deg2rad(25.0)
    k = np.random.default_rng(1).uniform(-0.2, 0.2, (50, 2))
    # The same points, as seen from axes turned by +25°.
    seen = k @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    one = CtfParameters.of(defocus_u_A=2e4, defocus_v_A=1.8e4, defocus_angle_deg=40.0)
    turned = CtfParameters.of(defocus_u_A=2e4, defocus_v_A=1.8e4, defocus_angle_deg=15.0)
    assert np.allclose(ctf_at(one, k), ctf_at(turned, seen), atol=3e-5)  # rounding of k, 40 turns at most


def test_new_values_do_not_compile_again() -> None:
    ctf_on_grid(VARIED, 16, 2.0)
    before = evaluate_ctf._cache_size()
    ctf_on_grid(CtfParameters.of(defocus_u_A=[1e4] * 4, defocus_v_A=9e3, defocus_angle_deg=5.0), 16, 1.7)
    assert evaluate_ctf._cache_size() == before


@pytest.mark.parametrize(
    ("name", "value", "needed"),
    [
        ("defocus_v_A", [1e4, np.nan], "finite"),
        ("voltage_kV", [300.0, 0.0], "positive"),
        ("amplitude_contrast", [0.1, 7.0], "fraction"),
    ],
)
def test_bad_values_are_named_by_row(name: str, value: list[float], needed: str) -> None:
    given = {"defocus_u_A": 1e4, "defocus_v_A": 1e4, "defocus_angle_deg": 0.0, name: value}
    with pytest.raises(HelixLabError, match=rf"{name}: row 2 .* needed a .*{needed}"):
        CtfParameters.of(**given)
