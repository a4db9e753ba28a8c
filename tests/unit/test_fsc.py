"""Shells, radial filters, FSC curves and their crossings: values known by construction, and messages."""

import json

import jaxtyping
import numpy as np
import pytest

from helixlab.errors import HelixLabError
from helixlab.geometry.volume import Volume
from helixlab.kernels import fourier
from helixlab.validate.fsc import FSCCurve, compute_fsc

SHAPES = [(16, 16, 16), (15, 15, 15), (12, 20, 17), (21, 10, 16)]


def noise_volume(seed, shape=(16, 16, 16), pixel_size_A=2.0):
    return Volume(np.random.default_rng(seed).normal(size=shape), pixel_size_A)


@pytest.fixture
def annotations_unchecked(monkeypatch):
    """As users run it: no beartype in front of the functions' own checks."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


# --- kernels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_shell_sums_count_every_term_of_the_full_transform(shape):
    half = (shape[0], shape[1], shape[2] // 2 + 1)
    counts = np.asarray(fourier.shell_sums(np.ones(half, np.float32), shape))
    k = np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij")
    shells = np.floor(np.sqrt(sum(c**2 for c in k)) * min(shape) + 0.5).astype(int)
    np.testing.assert_array_equal(counts, np.bincount(shells.ravel())[: min(shape) // 2 + 1])


@pytest.mark.parametrize("shape", SHAPES)
def test_parseval_over_shells_and_corners(shape):
    data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    power = np.abs(np.fft.rfftn(data.astype(np.float64))) ** 2
    total = (power * np.asarray(fourier.hermitian_weights(shape[2]))).sum()
    # float64 sums of float32 data: 1e-10 is far above their rounding.
    assert total == pytest.approx(data.size * (data.astype(np.float64) ** 2).sum(), rel=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_transform_round_trip_and_origin(shape):
    data = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    back = np.asarray(fourier.ifft_volume(fourier.fft_volume(data), shape))
    np.testing.assert_allclose(back, data, atol=2e-6)  # about ten eps of float32, values near 1
    point = np.zeros(shape, np.float32)
    point[tuple(n // 2 for n in shape)] = 1.0
    np.testing.assert_allclose(np.asarray(fourier.fft_volume(point)), 1.0, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_shell_weights_scale_a_wave_by_the_weight_of_its_shell(shape):
    # A wave along the shortest axis with s periods lies exactly at the centre of shell s.
    axis, n, s = int(np.argmin(shape)), min(shape), 3
    weights = np.linspace(1.0, 0.2, n // 2 + 1).astype(np.float32)
    phase = 2 * np.pi * s * np.arange(n) / n
    wave = np.moveaxis(np.broadcast_to(np.cos(phase), (*np.delete(shape, axis), n)), -1, axis)
    np.testing.assert_allclose(np.asarray(fourier.apply_shell_weights(wave, weights)), weights[s] * wave, atol=1e-6)


def test_low_pass_halves_the_amplitude_at_its_cutoff():
    wave = np.broadcast_to(np.cos(2 * np.pi * np.arange(20) * 0.2), (20, 20, 20))
    for cutoff, kept in ((0.2, 0.5), (0.25, 1.0), (0.15, 0.0)):
        filtered = np.asarray(fourier.low_pass(wave, cutoff, edge_per_px=0.1))
        np.testing.assert_allclose(filtered, kept * wave, atol=2e-6)


@pytest.mark.usefixtures("annotations_unchecked")
def test_filter_arguments_are_checked():
    with pytest.raises(HelixLabError, match="weights: found shape"):
        fourier.apply_shell_weights(np.ones((8, 8, 8)), np.ones(4))
    with pytest.raises(HelixLabError, match="cutoff_per_px: found 0"):
        fourier.low_pass(np.ones((8, 8, 8)), 0.0)
    with pytest.raises(HelixLabError, match="edge_per_px: found"):
        fourier.low_pass(np.ones((8, 8, 8)), 0.2, edge_per_px=float("nan"))
    with pytest.raises(HelixLabError, match="volume: found 2 axes"):
        fourier.low_pass(np.ones((8, 8)), 0.2)


def test_new_values_do_not_retrace():
    def run(seed, cutoff):
        volume = np.random.default_rng(seed).normal(size=(9, 10, 11)).astype(np.float32)
        fourier.low_pass(volume, cutoff, edge_per_px=cutoff / 3)
        fourier.apply_shell_weights(volume, np.full(5, cutoff))
        compute_fsc(noise_volume(seed, (9, 10, 11), cutoff), noise_volume(seed + 1, (9, 10, 11), cutoff))

    kernels = (fourier._low_pass, fourier._apply_shell_weights, fourier.shell_correlation, fourier.shell_sums)
    run(0, 0.2)
    before = [k._cache_size() for k in kernels]
    run(5, 0.31)
    assert [k._cache_size() for k in kernels] == before


# --- curves and crossings -------------------------------------------------------------------------


def curve(*fsc):
    return FSCCurve(np.arange(len(fsc)) * 0.05, np.array(fsc), "test")


def test_first_crossing_is_interpolated_in_frequency():
    crossing = curve(1.0, 0.9, 0.7, 0.1, 0.8, 0.0).crossing(0.4)
    assert crossing.freq_per_A == pytest.approx(0.125)  # half way from 0.7 at 0.10 to 0.1 at 0.15
    assert not crossing.reaches_nyquist
    assert curve(1.0, 0.9, 0.7, 0.1).resolution_A(0.4) == pytest.approx(8.0)


def test_a_value_on_the_threshold_is_not_below_it():
    crossing = curve(1.0, 0.5, 0.5, 0.3).crossing(0.5)
    assert crossing.freq_per_A == pytest.approx(0.10)


def test_a_curve_that_never_crosses_reports_nyquist_and_says_so():
    crossing = curve(1.0, 0.9, 0.8).crossing(0.143)
    assert crossing.reaches_nyquist
    assert crossing.resolution_A == pytest.approx(10.0)
    assert "never below 0.143" in str(crossing)


def test_a_curve_below_from_the_first_shell_crosses_before_it():
    crossing = curve(-1.0, 0.0, 0.0).crossing(0.143)
    assert 0 < crossing.freq_per_A < 0.05


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0, float("nan")])
def test_thresholds_outside_the_open_interval_are_refused(threshold):
    with pytest.raises(HelixLabError, match=r"^threshold: found"):
        curve(1.0, 0.5).crossing(threshold)


@pytest.mark.parametrize(
    ("freq", "fsc", "message"),
    [
        ([0.0, 0.1], [1.0], "frequencies and"),
        ([0.0], [1.0], "two or more"),
        ([0.0, 0.1], [1.0, np.nan], "NaN"),
        ([0.1, 0.1], [1.0, 0.5], "do not increase"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_bad_curves_are_refused(freq, fsc, message):
    with pytest.raises(HelixLabError, match=message):
        FSCCurve(np.array(freq), np.array(fsc), "test")


# --- compute_fsc: values --------------------------------------------------------------------------


def test_identical_maps_are_named_as_such():
    volume = noise_volume(0)
    result = compute_fsc(volume, volume.with_data(3 * volume.data + 1))
    assert result.curve("unmasked").fsc.min() > 0.9999
    assert "the same up to scale" in result.notes[0]


def test_independent_noise_stays_within_its_standard_error():
    shape = (32, 32, 32)
    result = compute_fsc(noise_volume(1, shape), noise_volume(2, shape))
    terms = np.asarray(fourier.shell_sums(np.ones((32, 32, 17), np.float32), shape))
    # Half of a shell's terms are independent; the correlation of m complex pairs has variance 1/(2m) = 1/terms.
    z = result.curve("unmasked").fsc[2:] * np.sqrt(terms[2:])
    assert np.abs(z).max() < 4  # 15 shells: exceeded once in a thousand seeds
    assert any("do not agree" in note for note in result.notes)


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_scale_and_offset_do_not_matter(scale):
    first, second = noise_volume(3), noise_volume(4)
    mixed = first.with_data(first.data + 0.7 * second.data)
    plain = compute_fsc(first, mixed).curve("unmasked").fsc
    moved = compute_fsc(first.with_data(scale * (first.data + 5)), mixed).curve("unmasked").fsc
    # The offset costs three bits of the values' float32 digits: 8·eps relative to a correlation near 1.
    np.testing.assert_allclose(moved, plain, atol=1e-5)


def test_shells_emptied_by_a_filter_count_as_disagreement_and_are_noted():
    shape = (32, 32, 32)
    first, second = noise_volume(5, shape), noise_volume(5, shape)
    weights = (np.arange(17) < 8).astype(np.float32)
    transform = np.fft.rfftn(first.data)
    sharp = transform * weights[np.minimum(np.asarray(fourier.shell_numbers(shape)), 16)]
    filtered = first.with_data(np.fft.irfftn(sharp, s=shape, axes=(0, 1, 2)))
    result = compute_fsc(filtered, second)
    assert result.curve("unmasked").fsc[1:8].min() > 0.999
    assert (result.curve("unmasked").fsc[8:] == 0).all()
    assert any("9 of 16 shells are empty" in note for note in result.notes)


def test_mask_gives_a_third_curve_and_selects_what_is_compared():
    # The same signal inside the mask, independent noise outside.
    shape = (32, 32, 32)
    mask = np.asarray(fourier.low_pass(np.pad(np.ones((14, 14, 14)), 9), 0.1)).clip(0, 1)
    halves = [noise_volume(s, shape) for s in (6, 7)]
    signal = noise_volume(8, shape).data
    halves = [v.with_data(mask * signal + (1 - mask) * v.data) for v in halves]
    result = compute_fsc(*halves, mask=Volume(mask**2, 2.0))
    assert [c.label for c in result.curves] == ["unmasked", "spherical", "mask"]
    assert result.curve("mask").fsc[4:].mean() > result.curve("unmasked").fsc[4:].mean() + 0.2
    with pytest.raises(HelixLabError, match="unmasked, spherical, mask"):
        result.curve("tight")


def test_result_is_plain_json():
    first, second = noise_volume(9), noise_volume(10)
    text = json.dumps(compute_fsc(first, first.with_data(first.data + second.data)).to_dict(), allow_nan=False)
    found = json.loads(text)
    assert [c["label"] for c in found["curves"]] == ["unmasked", "spherical"]
    assert {c["threshold"] for c in found["curves"][0]["crossings"]} == {0.143, 0.5}


# --- compute_fsc: messages ------------------------------------------------------------------------


def test_shapes_must_agree():
    with pytest.raises(HelixLabError, match=r"half2: found shape \(16, 16, 18\).*half1 has \(16, 16, 16\)"):
        compute_fsc(noise_volume(0), noise_volume(1, (16, 16, 18)))


def test_pixel_sizes_must_agree():
    with pytest.raises(HelixLabError, match=r"half2: found a pixel size of 2.01 Å, but half1 has 2 Å"):
        compute_fsc(noise_volume(0), noise_volume(1, pixel_size_A=2.01))
    compute_fsc(noise_volume(0), noise_volume(1, pixel_size_A=2.0 * (1 + 5e-6)))  # float32 header


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((16, 16, 16)), "zeros only"),
        (np.full((16, 16, 16), 3.0), "from 3 to 3; a mask lies between 0"),
        (-np.ones((16, 16, 16)), "from -1 to -1"),
        (np.ones((16, 16, 14)), r"mask: found shape \(16, 16, 14\)"),
    ],
)
def test_masks_are_checked(mask, message):
    with pytest.raises(HelixLabError, match=message):
        compute_fsc(noise_volume(0), noise_volume(1), mask=Volume(mask, 2.0))


def test_constant_maps_and_tiny_boxes_are_refused():
    with pytest.raises(HelixLabError, match="half2: found the same value in every voxel"):
        compute_fsc(noise_volume(0), Volume(np.ones((16, 16, 16)), 2.0))
    with pytest.raises(HelixLabError, match="at least 8"):
        compute_fsc(noise_volume(0, (4, 4, 4)), noise_volume(1, (4, 4, 4)))
