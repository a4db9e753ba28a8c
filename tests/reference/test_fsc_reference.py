"""FSC against an independent numpy float64 implementation, a RELION curve, and a published map and its model."""

import gemmi
import mrcfile
import numpy as np
import pytest

from helixlab.geometry.volume import Volume
from helixlab.io import read_star_table
from helixlab.kernels.fourier import low_pass
from helixlab.validate.fsc import FSCCurve, compute_fsc


def numpy_fsc(map1, map2):
    """Straight from the definition: full complex transforms, float64, one shell after the other."""
    first, second = (np.fft.fftn(m.astype(np.float64)) for m in (map1, map2))
    freqs = np.meshgrid(*(np.fft.fftfreq(n) for n in map1.shape), indexing="ij")
    shells = np.floor(np.sqrt(sum(f**2 for f in freqs)) * min(map1.shape) + 0.5)
    curve = [1.0]
    for s in range(1, min(map1.shape) // 2 + 1):
        a, b = first[shells == s], second[shells == s]
        curve.append((a @ b.conj()).real / np.sqrt((abs(a) ** 2).sum() * (abs(b) ** 2).sum()))
    return np.array(curve)


def numpy_sphere(shape):
    axes = np.meshgrid(*(np.arange(n) - n // 2 for n in shape), indexing="ij")
    t = (np.sqrt(sum(a**2 for a in axes)) / min(shape) - 0.4) / 0.1
    return 0.5 + 0.5 * np.cos(np.pi * np.clip(t, 0, 1))


@pytest.mark.parametrize("shape", [(48, 48, 48), (33, 33, 33), (30, 44, 37), (64, 26, 31)])
def test_curves_agree_with_numpy_in_float64(shape):
    rng = np.random.default_rng(sum(shape))
    signal = np.asarray(low_pass(rng.normal(size=shape), 0.15, edge_per_px=0.1))
    halves = [(signal + 0.3 * rng.normal(size=shape)).astype(np.float32) + 2 for _ in range(2)]
    result = compute_fsc(*(Volume(h, 1.3) for h in halves))
    # A float32 transform of 1e5 values errs by about eps·log2(N) = 2e-6 of its rms term; twice that with the mask.
    np.testing.assert_allclose(result.curve("unmasked").fsc, numpy_fsc(*halves), atol=4e-6)
    sphere = numpy_sphere(shape)
    np.testing.assert_allclose(result.curve("spherical").fsc, numpy_fsc(*(h * sphere for h in halves)), atol=4e-6)


def test_relion_postprocess_curve_crosses_where_relion_says(data_dir):
    path = data_dir / "star" / "relion_postprocess_fsc.star"
    table = read_star_table(path, "fsc")
    curve = FSCCurve(table["rlnResolution"], table["rlnFourierShellCorrelationCorrected"], "RELION")
    # RELION names the last shell above 0.143; ours lies between that shell and the next, 1/720 1/Å further.
    published = float(read_star_table(path, "general")["rlnFinalResolution"][0])
    assert published == pytest.approx(16.363636)
    crossing = curve.crossing(0.143)
    assert 1 / published <= crossing.freq_per_A <= 1 / published + 1 / 720
    assert not crossing.reaches_nyquist


def model_density(path, shape, pixel_size_A):
    """Electron scattering density of an atomic model in the map's own frame, (z, y, x); by gemmi alone."""
    structure = gemmi.read_structure(str(path))
    structure.setup_entities()
    structure.remove_hydrogens()
    calculator = gemmi.DensityCalculatorE()
    calculator.d_min = 2 * pixel_size_A
    calculator.rate = 1.0
    edges = [n * pixel_size_A for n in reversed(shape)]
    calculator.grid.unit_cell = gemmi.UnitCell(*edges, 90, 90, 90)
    calculator.grid.set_size(*reversed(shape))
    for chain in structure[0]:
        for residue in chain:
            for atom in residue:
                atom.b_iso += 20.0  # keeps the atoms from aliasing on this grid; an FSC sees no B factor
    calculator.add_model_density_to_grid(structure[0])
    return np.array(calculator.grid.array).transpose(2, 1, 0)


def test_map_of_haemoglobin_agrees_with_its_model_to_the_published_resolution(data_dir):
    with mrcfile.open(data_dir / "maps" / "emd_3488.mrc.gz", permissive=True) as mrc:
        density = Volume(mrc.data, 1.05)
    model = Volume(
        model_density(data_dir / "models" / "5ni1_haemoglobin_not_helical.cif.gz", density.shape, 1.05), 1.05
    )
    curve = compute_fsc(density, model).curve("unmasked")
    # EMD-3488 was published at 3.2 A by half maps (FSC 0.143), which is where a map-model FSC is 0.5.
    assert curve.resolution_A(0.5) == pytest.approx(3.2, abs=0.3)
