"""Every file of the real data opens, or is refused for the right reason; known facts are those of its README."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from helixlab.errors import FileFormatError, HelixLabError
from helixlab.io import (
    describe_file,
    filament_direction_error_deg,
    read_image_stack,
    read_particles,
    read_star_table,
    read_volume,
    write_particles,
)
from helixlab.io.cryosparc import read_cs
from helixlab.io.star import read_star

MAPS = {
    "maps/emd_3488.mrc.gz": ((100, 100, 100), 1.05, (0, 0, 0)),
    "maps/emd_1832.map.gz": ((64, 64, 64), 5.7, (-182.4, -182.4, -182.4)),
    "maps/emd_5625.map.gz": ((56, 56, 56), 4.23, (-118.44, -118.44, -118.44)),
    "maps/emd_3197.map": ((20, 20, 20), 11.4, (-22.8, 0, 0)),
    "generated/tmv_4udv_5A_128px_1.7A.mrc.gz": ((128, 128, 128), 1.7, (0, 0, 0)),
    "generated/asyn_6a6b_4A_128px_1.2A.mrc.gz": ((128, 128, 128), 1.2, (0, 0, 0)),
}

TABLES = (
    "star/SL251-2_class2d_group1_particles.star.gz",
    "star/SL251-2_58particles.star",
    "particles/relion31.star",
    "particles/relion31.v2.star",
    "particles/empiar_10076_7.star",
)

CS_TABLES = ("cryosparc_J2_particles_exported", "cryosparc_P12_J24_001_particles", "empiar_10076_7")

MODELS = {
    "4udv.pdb": (2, 22.04, 1.41),
    "1ql2.cif": (3, 197.745, 9.15),
    "6a6b.pdb": (12, None, None),
    "5oqv.pdb": (9, None, None),
    "6ufr_origin_5layers.pdb": (10, None, None),
    "7qv5_bfacreplaced.pdb.gz": (60, None, None),
    "tau_PHF_filamenttools.cif.gz": (6, None, None),
    "tau_intermediate_filamenttools.pdb.gz": (16, None, None),
    "5ni1_haemoglobin_not_helical.cif.gz": (4, None, None),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps_open_with_their_voxel_and_origin(data_dir, name):
    shape, pixel_A, origin_A = MAPS[name]
    volume = read_volume(data_dir / name)
    assert volume.shape == shape
    assert volume.pixel_size_A == pixel_A
    assert volume.origin_A == pytest.approx(origin_A, abs=1e-9)
    if name.startswith("generated"):
        assert volume.data.std() == pytest.approx(1, abs=1e-5)  # scaled to unit variance


def test_the_anisotropic_map_is_refused_until_overruled(data_dir):
    path = data_dir / "maps/emd_3001.map.gz"
    with pytest.raises(
        FileFormatError, match=r"0\.44825 × 0\.3925 × 0\.45875 Å in a cell with angles 90 × 94\.326 × 90°"
    ):
        read_volume(path)
    volume = read_volume(path, pixel_size_A=1.0)
    assert volume.shape == (73, 25, 43)  # MAPC, MAPR, MAPS = 3, 1, 2: columns along z, rows along x
    assert volume.origin_A == (-21.0, -12.0, 0.0)


def test_stacks_are_no_maps_and_open_as_stacks(data_dir):
    for name, n, size in (("particles/relion31.mrcs", 5, 256), ("class2d/SL251-2_group1_from_png.mrcs.gz", 9, 256)):
        with pytest.raises(FileFormatError, match=f"found a stack of {n} images of {size} × {size}"):
            read_volume(data_dir / name)
        images, _ = read_image_stack(data_dir / name)
        assert images.shape == (n, size, size)
    assert read_image_stack(data_dir / "class2d/SL251-2_group1_from_png.mrcs.gz")[1] == 2.908
    with pytest.raises(FileFormatError, match=r"the header's voxel size is 0; correct it or pass it"):
        read_volume(data_dir / "particles/empiar_10076_7.mrc")


def test_the_helical_segments_are_those_of_the_readme(data_dir):
    stack = read_particles(data_dir / TABLES[0])
    assert len(stack) == 5645
    assert len(stack.micrograph_names) == 92
    assert stack.n_filaments == 117
    assert stack.pixel_size_A.tolist() == [2.908] * 5645
    assert stack.optics.box_size_px.tolist() == [256]
    assert stack.optics.voltage_kV.tolist() == [300.0]
    assert set(stack.tilt_prior_deg) == {90.0}
    assert set(stack.psi_flip_ratio) == {0.5}
    # Coordinates and priors have six decimals: 1e-6 of a degree over boxes some hundred pixels apart.
    assert np.nanmax(filament_direction_error_deg(stack)) < 1e-5
    # Along a straight tube the track length is the distance of the boxes in the micrograph, 0.727 Å/px.
    rows = np.flatnonzero(stack.filament_id == stack.filament_id[0])
    step_px = np.hypot(np.diff(stack.coordinate_x_px[rows]), np.diff(stack.coordinate_y_px[rows]))
    np.testing.assert_allclose(step_px * 0.727, np.abs(np.diff(stack.track_length_A[rows])), rtol=1e-4)
    with pytest.raises(FileFormatError, match=r"the image file Extract/job006/.* is not there"):
        stack.check_images()
    assert len(read_particles(data_dir / TABLES[1])) == 58


def unpacked(path, folder):
    if path.suffix != ".gz":
        return path
    (folder / "plain.star").write_bytes(gzip.decompress(path.read_bytes()))
    return folder / "plain.star"


@pytest.mark.parametrize("name", TABLES)
def test_star_tables_survive_cryosparc_word_for_word(data_dir, tmp_path, name):
    path = unpacked(data_dir / name, tmp_path)
    write_particles(tmp_path / "a.cs", read_particles(path))
    write_particles(tmp_path / "a.star", read_particles(tmp_path / "a.cs"), carry_foreign=False)
    before, after = read_star(path), read_star(tmp_path / "a.star")
    assert [b.name for b in before.blocks] == [b.name for b in after.blocks]
    for one, other in zip(before.blocks, after.blocks, strict=True):
        assert list(one.columns) == list(other.columns)
        for label in one.columns:
            np.testing.assert_array_equal(one.columns[label], other.columns[label])


@pytest.mark.parametrize("name", CS_TABLES)
def test_cs_tables_survive_relion_bit_for_bit(data_dir, tmp_path, name):
    path = data_dir / f"cryosparc/{name}.cs"
    write_particles(tmp_path / "a.star", read_particles(path))
    write_particles(tmp_path / "a.cs", read_particles(tmp_path / "a.star"), carry_foreign=False)
    before, after = read_cs(path), read_cs(tmp_path / "a.cs")
    assert before.dtype == after.dtype
    assert before.tobytes() == after.tobytes()


def test_the_empty_table_is_described_and_refused(data_dir):
    path = data_dir / "cryosparc/empty_many_columns_4k_dataset.cs"
    assert describe_file(path)["rows"] == 0
    assert len(describe_file(path)["fields"]) == 106
    with pytest.raises(FileFormatError, match=r"empty table \(0 rows, 106 columns\)"):
        read_particles(path)


def test_both_programs_tables_of_the_same_particles_agree(data_dir):
    star = read_particles(data_dir / "particles/empiar_10076_7.star")
    cs = read_particles(data_dir / "cryosparc/empiar_10076_7.cs", images_root=data_dir / "particles")
    single = 2 * np.finfo(np.float32).eps  # CryoSPARC's columns
    for name in ("defocus_u_A", "defocus_v_A", "defocus_angle_deg", "pixel_size_A"):
        np.testing.assert_allclose(getattr(cs, name), getattr(star, name), rtol=single)
    for name in ("voltage_kV", "cs_mm", "amplitude_contrast"):
        np.testing.assert_allclose(getattr(cs.optics, name), getattr(star.optics, name), rtol=single)
    assert [cs.image_name(i) for i in range(7)] == [star.image_name(i) for i in range(7)]
    rows = np.array([6, 0, 3])
    np.testing.assert_array_equal(cs.images(rows), star.images(rows))
    assert star.check_images() == (320, 320)


def test_real_images_fit_their_tables(data_dir):
    first, second = (read_particles(data_dir / f"particles/relion31{v}.star") for v in ("", ".v2"))
    np.testing.assert_array_equal(first.rot_deg, second.rot_deg)
    assert first.pixel_size_A.tolist() == [2.806] * 5
    # The table names Extract/…/*.mrcs, which are not here; the images are those of relion31.mrcs.
    local = first.replace(image_files=(str(data_dir / "particles/relion31.mrcs"),) * len(first.image_files))
    assert local.check_images() == (256, 256)
    assert local.images(np.arange(5)).std() == pytest.approx(1, abs=0.1)  # RELION normalises the background to 1


def test_real_poses_are_those_of_a_3d_refinement(data_dir):
    stack = read_particles(data_dir / "cryosparc/cryosparc_P12_J24_001_particles.cs")
    assert len(stack) == 2019
    assert stack.pixel_size_A[0] == pytest.approx(2.95)
    assert set(stack.half_set) == {1, 2}
    assert stack.shift_x_A[0] == pytest.approx(11.334375 * 2.95, rel=1e-6)


def test_other_star_files_are_tables(data_dir):
    fsc = read_star_table(data_dir / "star/relion_postprocess_fsc.star", "fsc")
    assert len(fsc["rlnResolution"]) == 49
    general = read_star_table(data_dir / "star/relion_postprocess_fsc.star", "general")
    assert general["rlnFinalResolution"][0] == 16.363636
    classes = read_star_table(data_dir / "star/SL251-2_class2d_run_it045_model.star.gz", "model_classes")
    assert len(classes["rlnReferenceImage"]) == 160
    assert set(classes["rlnHelicalRise"]) == {4.75}
    with pytest.raises(FileFormatError, match="no table has the column _rlnImageName"):
        read_particles(data_dir / "star/relion_postprocess_fsc.star")


@pytest.mark.parametrize("name", MODELS)
def test_models_are_described_with_their_deposited_symmetry(data_dir, name):
    n_chains, twist_deg, rise_A = MODELS[name]
    found = describe_file(data_dir / "models" / name)
    assert found["kind"] == "atomic model"
    assert len(found["chains"]) == n_chains
    symmetry = found["deposited_helical_symmetry"]
    if twist_deg is None:
        assert symmetry is None
    else:
        assert (symmetry["twist_deg"], symmetry["rise_A"]) == (twist_deg, rise_A)


def test_every_file_is_described_or_refused_in_words(data_dir):
    refused = {}
    files = sorted(p for p in Path(data_dir).rglob("*") if p.is_file() and p.parent != data_dir)
    assert len(files) > 30
    for path in files:
        try:
            json.dumps(describe_file(path), allow_nan=False)
        except HelixLabError as err:
            refused[path.name] = str(err)
    assert set(refused) == {"13pf_MT.tif", "SL251-2_group1_classaverages.png", "emdb_helical_curated.csv"}
    assert "found a TIFF image; HelixLab reads" in refused["13pf_MT.tif"]
    assert "found a PNG image" in refused["SL251-2_group1_classaverages.png"]
