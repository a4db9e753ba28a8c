"""Simulation: input checks, files, reproducibility."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helixlab.errors import FileFormatError, HelixLabError
from helixlab.geometry import HelicalSymmetry, rotation_about_z
from helixlab.io import read_volume
from helixlab.simulate import (
    AtomicUnit,
    HalfMapNoise,
    builtin_unit,
    default_b_factor_A2,
    fit_screw,
    read_atomic_unit,
    simulate_helix,
    write_simulation,
)
from helixlab.simulate.screw import Trace, fit_screw_to_traces

SYMMETRY = HelicalSymmetry(60.0, 12.0)
OPTIONS = {"box": 48, "pixel_size_A": 2.5, "resolution_A": 8.0}


def pdb_text(chains):
    """Cα atoms of chains {name: (n, 3) array} as a PDB file."""
    lines, serial = [], 0
    for name, xyz in chains.items():
        for i, (x, y, z) in enumerate(xyz):
            serial += 1
            lines.append(
                f"ATOM  {serial:5d}  CA  {'ALA' if i % 2 else 'SER'} {name}{i + 1:4d}    "
                f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C"
            )
    return "\n".join([*lines, "END", ""])


def stack(symmetry, n_layers, axis_xy_A=(30.0, 40.0)):
    """Copies of a 12-atom chain under a symmetry, about an axis off the origin, in shuffled order."""
    rng = np.random.default_rng(5)
    chain = np.cumsum(rng.normal(size=(12, 3)) * [3, 3, 1], axis=0) + np.array([15, 0, 0])
    rotations, shifts = symmetry.operators((n_layers // 2) * symmetry.rise_A)
    copies = np.einsum("kij,nj->kni", rotations, chain) + shifts[:, None] + np.array([*axis_xy_A, 50.0])
    return {chr(65 + i): copies[k] for i, k in enumerate(rng.permutation(len(copies)))}


# --- the screw and the unit ---------------------------------------------------------------------------------


@given(
    twist_deg=st.floats(-179.0, 179.0).filter(lambda t: abs(t) > 0.5),
    rise_A=st.floats(1.0, 30.0),
    order=st.integers(1, 3),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_fit_recovers_the_screw(twist_deg, rise_A, order):
    symmetry = HelicalSymmetry(twist_deg, rise_A, f"C{order}").canonical()
    traces = [Trace(name, ("same",), xyz) for name, xyz in stack(symmetry, 6).items()]
    fit = fit_screw_to_traces(traces)
    assert fit.symmetry.is_equivalent(symmetry, twist_tol_deg=1e-5, rise_tol_A=1e-5)  # Gauss–Newton stops at 1e-7
    np.testing.assert_allclose(fit.axis_xy_A, (30.0, 40.0), atol=1e-3)  # a twist of 0.5° magnifies errors 100-fold
    assert fit.rms_A < 1e-5


def test_unit_of_a_stack_is_one_chain_about_the_axis(tmp_path):
    symmetry = HelicalSymmetry(-40.0, 6.0, "C2")
    path = tmp_path / "stack.pdb.gz"
    with gzip.open(path, "wt") as stream:
        stream.write(pdb_text(stack(symmetry, 6)))
    unit = read_atomic_unit(path, symmetry=symmetry)
    assert len(unit.chains) == 1
    whole = read_atomic_unit(path)
    assert len(whole.chains) == 14
    # Every chain of the file is a copy of the unit: PDB coordinates have three decimals.
    rotations, shifts = symmetry.operators(60.0)
    copies = np.einsum("kij,nj->kni", rotations, unit.xyz_A) + shifts[:, None]
    for chain in whole.xyz_A.reshape(14, 12, 3):
        offset = copies - chain
        offset -= offset.mean(1, keepdims=True) * [0, 0, 1]  # heights are relative: each unit is centred by itself
        assert np.abs(offset).max((1, 2)).min() < 5e-3


def test_given_axis_and_chains_are_taken_as_they_are(tmp_path):
    path = tmp_path / "stack.pdb"
    chains = stack(HelicalSymmetry(-40.0, 6.0), 6)
    path.write_text(pdb_text(chains))
    unit = read_atomic_unit(path, chains=["B"], axis_xy_A=(1.0, -2.0))
    np.testing.assert_allclose(unit.xyz_A[:, :2], chains["B"][:, :2] - [1, -2], atol=1e-3)
    assert unit.chains == ("B",)
    np.testing.assert_allclose(
        read_atomic_unit(path, chains=["B"], axis_xy_A=None).xyz_A[:, 0], chains["B"][:, 0], atol=1e-3
    )


def test_undecided_unit_is_refused(tmp_path):
    path = tmp_path / "stack.pdb"
    path.write_text(pdb_text(stack(HelicalSymmetry(-40.0, 6.0), 10)))
    with pytest.raises(HelixLabError, match=r"cannot decide which chains.*repeat under twist -40\.000°, rise 6\.000"):
        read_atomic_unit(path, symmetry=HelicalSymmetry(17.3, 0.7))
    assert read_atomic_unit(path, symmetry=HelicalSymmetry(17.3, 0.7), chains="A").chains == ("A",)


def test_bad_models_name_the_file(tmp_path):
    missing = tmp_path / "none.pdb"
    with pytest.raises(FileFormatError, match=r"none\.pdb: there is no such file"):
        read_atomic_unit(missing)
    text = tmp_path / "words.pdb"
    text.write_text("this is no model\n")
    with pytest.raises(FileFormatError, match=r"words\.pdb: found no atoms"):
        fit_screw(text)
    cif = tmp_path / "broken.cif"
    cif.write_text("data_x\nloop_\n_atom_site.id\n_atom_site.Cartn_x\n1\n")
    with pytest.raises(FileFormatError, match=r"broken\.cif"):
        read_atomic_unit(cif)
    binary = tmp_path / "broken.pdb.gz"
    binary.write_bytes(gzip.compress(pdb_text({"A": np.zeros((5, 3))}).encode())[:-20])
    with pytest.raises(FileFormatError, match=r"broken\.pdb\.gz"):
        read_atomic_unit(binary)
    one = tmp_path / "one.pdb"
    one.write_text(pdb_text({"A": np.random.default_rng(0).normal(size=(5, 3))}))
    with pytest.raises(HelixLabError, match="no two chains related by a screw"):
        fit_screw(one)
    with pytest.raises(HelixLabError, match="found no chain Q; it has A"):
        read_atomic_unit(one, chains=["Q"])


@pytest.mark.parametrize("symmetry", [None, HelicalSymmetry(179.6, 2.4), HelicalSymmetry(27.0, 30.0, "D2")])
def test_builtin_unit_stays_in_its_cell(symmetry):
    unit = builtin_unit(symmetry)
    np.testing.assert_array_equal(unit.xyz_A, builtin_unit(symmetry).xyz_A)
    assert unit.inner_radius_A >= 10
    assert unit.outer_radius_A <= 42
    assert len(unit.elements) == 120
    with pytest.raises(HelixLabError, match="at least 4 atoms"):
        builtin_unit(n_atoms=3)


# --- simulation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"box": 20}, "Use a box of at least"),
        ({"box": (48, 4, 48)}, "needed one whole number"),
        ({"pixel_size_A": 0.0}, "pixel_size_A: found 0"),
        ({"resolution_A": 4.0}, "nothing finer than 5 Å"),
        ({"b_factor_A2": -1.0}, "b_factor_A2: found -1"),
        ({"noise": -0.5}, "noise: found -0.5"),
        ({"noise": 1.0, "fsc_resolution_A": 10.0}, "give one of them"),
        ({"fsc_resolution_A": 7.0}, "coarser resolution"),
        ({"noise": 1.0, "noise_resolution_A": 3.0}, "nothing finer"),
        ({"tilt_deg": 60.0}, "0 to 45 degrees"),
        ({"offset_px": (30, 0)}, "moved off the centre"),
        ({"chains": ["A"]}, "choose from a model file"),
    ],
)
def test_bad_requests_say_what_to_do(change, message):
    with pytest.raises(HelixLabError, match=message):
        simulate_helix("builtin", SYMMETRY, **(OPTIONS | change))


def test_unknown_element_is_refused():
    unit = AtomicUnit(np.array([[20.0, 0, 0], [22, 3, 1]]), np.array(["C", "X"]))
    with pytest.raises(HelixLabError, match="element 'X'"):
        simulate_helix(unit, SYMMETRY, **OPTIONS)
    for bad in ({"xyz_A": np.zeros((0, 3))}, {"elements": np.array(["C"])}, {"xyz_A": np.full((2, 3), np.nan)}):
        with pytest.raises(HelixLabError, match="AtomicUnit"):
            AtomicUnit(**({"xyz_A": unit.xyz_A, "elements": unit.elements} | bad))


def test_same_seed_same_maps_and_colours_of_noise():
    first = simulate_helix("builtin", SYMMETRY, noise=1.0, seed=7, **OPTIONS)
    again = simulate_helix("builtin", SYMMETRY, noise=1.0, seed=7, **OPTIONS)
    other = simulate_helix("builtin", SYMMETRY, noise=1.0, seed=8, noise_resolution_A=15.0, **OPTIONS)
    np.testing.assert_array_equal(first.half2.data, again.half2.data)
    coloured = other.half1.data - other.truth.data
    assert abs(coloured.std() - 1) < 1e-3  # scaled to it, float32
    power = np.abs(np.fft.rfft(coloured, axis=2)) ** 2
    assert power[..., 10:].mean() < 1e-3 * power[..., :8].mean()  # 15 Å is order 8 of 120 Å
    assert other.noise == HalfMapNoise(1.0, 15.0, other.noise.fsc_resolution_A)


def test_non_cubic_odd_box_and_default_b():
    made = simulate_helix("builtin", SYMMETRY, box=(31, 47, 50), pixel_size_A=2.5, resolution_A=5.0)
    assert made.volume.shape == (31, 47, 50)
    assert made.b_factor_A2 == default_b_factor_A2(2.5) == 300.0
    assert made.half1 is None
    assert made.half2 is None
    # The axis is at voxel n // 2: the mean over z and turns by 60° leaves the centre of mass there, within a voxel.
    section = np.clip(made.volume.data.sum(0), 0, None)
    y, x = np.indices(section.shape)
    assert abs((section * x).sum() / section.sum() - 25) < 0.5
    assert abs((section * y).sum() / section.sum() - 23) < 0.5


def test_files_hold_the_maps_and_the_truth(tmp_path):
    made = simulate_helix("builtin", SYMMETRY, noise=0.5, seed=3, tilt_deg=2.0, **OPTIONS)
    files = write_simulation(tmp_path / "new" / "folder", made)
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [
        "half1.mrc", "half2.mrc", "map.mrc", "truth.json",
    ]  # fmt: skip
    np.testing.assert_array_equal(read_volume(files["half2"]).data, made.half2.data)
    truth = json.loads(files["truth"].read_text("utf-8"))
    assert (truth["twist_deg"], truth["rise_A"], truth["point_group"]) == (60.0, 12.0, "C1")
    assert (truth["seed"], truth["noise_sd"], truth["tilt_deg"], truth["box"]) == (3, 0.5, 2.0, [48, 48, 48])
    clean = simulate_helix("builtin", SYMMETRY, **OPTIONS)
    with pytest.raises(HelixLabError, match=r"map\.mrc: the file exists already"):
        write_simulation(tmp_path / "new" / "folder", clean)
    write_simulation(tmp_path / "new" / "folder", clean, overwrite=True)
    assert not files["half1"].exists()  # half maps of another simulation do not stay behind


def test_dihedral_filament_has_its_dyad():
    symmetry = HelicalSymmetry(33.0, 21.0, "D1")
    data = simulate_helix("builtin", symmetry, box=49, pixel_size_A=2.4, resolution_A=7.0).volume.data
    # The dyad along x takes (x, y, z) to (x, −y, −z); 0.01: the ends of the box.
    np.testing.assert_allclose(data, data[::-1, ::-1], atol=0.01)
    assert rotation_about_z(np.zeros(1)).shape == (1, 3, 3)
