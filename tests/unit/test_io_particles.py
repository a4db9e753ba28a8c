"""Particle tables: STAR and .cs into one stack and back, losing nothing, and every bad table named in words."""

import gzip
import io
import pickle
import warnings

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from helixlab.errors import FileFormatError, HelixLabError
from helixlab.geometry import cryosparc_to_relion_pose
from helixlab.io import (
    describe_file,
    filament_direction_error_deg,
    new_particle_stack,
    read_particles,
    read_star_table,
    write_particles,
)
from helixlab.io.cryosparc import read_cs
from helixlab.io.star import StarBlock, StarFile, format_star, quoted, read_star

OPTICS = """
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnImageSize #7
_rlnOddZernike #8
first 1 300.000000 2.700000 0.100000 1.500000 8 [0,0.1]
second 3 200.000000 2.700000 0.070000 1.250000 8 [1,0]
"""

PARTICLES = """
# version 30001

data_particles

loop_
_rlnImageName #1
_rlnMicrographName #2
_rlnCoordinateX #3
_rlnCoordinateY #4
_rlnHelicalTubeID #5
_rlnAngleTiltPrior #6
_rlnAnglePsiPrior #7
_rlnAnglePsiFlipRatio #8
_rlnHelicalTrackLengthAngst #9
_rlnDefocusU #10
_rlnDefocusV #11
_rlnDefocusAngle #12
_rlnAngleRot #13
_rlnAngleTilt #14
_rlnAnglePsi #15
_rlnOriginXAngst #16
_rlnOriginYAngst #17
_rlnRandomSubset #18
_rlnOpticsGroup #19
_myHash #20
000001@a.mrcs m1.mrc 10.0 20.0 1 90 -45.0 0.5 0.0 15000.123456 14000.5 30.25 1.00 90.5 -44.0 1.5e0 -2.25 1 1 "x y"
000002@a.mrcs m1.mrc 13.0 23.0 1 90 -45.0 0.5 14.25 15000.123456 14000.5 30.25 2.00 90.5 -44.0 1.5 -2.25 1 1 b#1
000001@b.mrcs m2.mrc 10.0 20.0 1 90 135.0 0.5 0.0 15000.123456 14000.5 30.25 -3.00 90.5 -44.0 1.5 -2.25 2 3 ''
000003@a.mrcs m1.mrc 50.0 20.0 2 90 180.0 0.5 0.0 15000.123456 14000.5 30.25 4.0 90.5 -44.0 1.5 -2.25 2 1 [q
"""

EXTRA = "\ndata_job\n\n_rlnJobName refine\n_rlnNote 'a b'\n"

LEGACY = """
data_

loop_
_rlnImageName
_rlnVoltage
_rlnSphericalAberration
_rlnAmplitudeContrast
_rlnMagnification
_rlnDetectorPixelSize
_rlnOriginX
_rlnOriginY
1@a.mrc 300 2.7 0.07 38168 5 2.0 -1.0
2@a.mrc 300 2.7 0.07 38168 5 0.5 0.0
"""


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def star_path(tmp_path):
    return write(tmp_path / "p.star", OPTICS + PARTICLES)


def make_stack_file(path, n_images, box=8, seed=0):
    data = np.random.default_rng(seed).normal(size=(n_images, box, box)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.new(path, overwrite=True) as mrc:
            mrc.set_data(data)
            mrc.set_image_stack()
    return data


def save_cs(path, rows, **options):
    buffer = io.BytesIO()
    np.save(buffer, rows, **options)
    path.write_bytes(buffer.getvalue())
    return path


def make_cs_rows(n=4, **extra):
    fields = {
        "uid": np.arange(n, dtype="<u8") * 7 + 2**60,
        "blob/path": np.array([b">J1/imported/a.mrcs"] * n),
        "blob/idx": np.arange(n, dtype="<u4"),
        "blob/shape": np.full((n, 2), 8, "<u4"),
        "blob/psize_A": np.full(n, 1.3, "<f4"),
        "ctf/accel_kv": np.full(n, 300, "<f4"),
        "ctf/cs_mm": np.full(n, 2.7, "<f4"),
        "ctf/amp_contrast": np.full(n, 0.1, "<f4"),
        "ctf/exp_group_id": np.zeros(n, "<u4"),
        "ctf/df1_A": np.linspace(1e4, 2e4, n).astype("<f4"),
        "ctf/df_angle_rad": np.linspace(-1, 1, n).astype("<f4"),
        "alignments3D/pose": np.random.default_rng(0).normal(size=(n, 3)).astype("<f4"),
        "alignments3D/shift": np.random.default_rng(1).normal(size=(n, 2)).astype("<f4"),
        "alignments3D/psize_A": np.full(n, 2.6, "<f4"),
        "alignments3D/split": (np.arange(n) % 2).astype("<u4"),
        "location/micrograph_path": np.array([b"J1/m1.mrc", b"J1/m2.mrc"] * (n // 2)),
        "location/micrograph_shape": np.tile(np.array([4000, 6000], "<u4"), (n, 1)),
        "location/center_x_frac": np.linspace(0.1, 0.4, n).astype("<f4"),
        "location/center_y_frac": np.full(n, 0.5, "<f4"),
        "filament/filament_uid": np.array([5, 6] * (n // 2), "<u8") + 2**61,
        "filament/filament_pose": np.full(n, np.deg2rad(20.0), "<f4"),
        "filament/position_A": np.linspace(0, 90, n).astype("<f4"),
        "filament/arc_length_A": np.full(n, 500, "<f4"),
        "filament/inter_box_dist_A": np.full(n, 30, "<f4"),
        "filament/sinuosity": np.full(n, 1.02, "<f4"),
    } | extra
    fields = {name: values for name, values in fields.items() if values is not None}
    rows = np.zeros(n, [(name, v.dtype, v.shape[1:]) for name, v in fields.items()])
    for name, values in fields.items():
        rows[name] = values
    return rows


def assert_same_star(first, second):
    a, b = read_star(first), read_star(second)
    assert a.version == b.version
    assert [x.name for x in a.blocks] == [x.name for x in b.blocks]
    for x, y in zip(a.blocks, b.blocks, strict=True):
        assert list(x.columns) == list(y.columns)
        assert x.is_loop == y.is_loop
        for label in x.columns:
            assert x.columns[label].tolist() == y.columns[label].tolist(), label


def assert_same_cs(first, second):
    a, b = read_cs(first), read_cs(second)
    assert a.dtype == b.dtype
    assert a.tobytes() == b.tobytes()


# --- what is read -------------------------------------------------------------------------------


def test_a_star_file_of_relion_31(star_path):
    stack = read_particles(star_path)
    assert len(stack) == 4
    assert stack.image_name(2) == "000001@b.mrcs"
    assert stack.pixel_size_A.tolist() == [1.5, 1.5, 1.25, 1.5]
    assert stack.optics.number.tolist() == [1, 3]
    assert stack.filament_id.tolist() == [0, 0, 1, 2]  # tube 1 of m1 is not tube 1 of m2
    assert stack.shift_x_A.tolist() == [1.5] * 4
    assert stack.half_set.tolist() == [1, 1, 2, 2]
    assert stack.psi_flip_ratio.tolist() == [0.5] * 4
    assert stack.micrograph_names == ("m1.mrc", "m2.mrc")


def test_the_order_of_blocks_does_not_matter(tmp_path, star_path):
    other = read_particles(write(tmp_path / "o.star", PARTICLES + OPTICS))
    np.testing.assert_array_equal(other.rot_deg, read_particles(star_path).rot_deg)


def test_a_star_file_of_relion_30(tmp_path):
    stack = read_particles(write(tmp_path / "l.star", LEGACY))
    pixel_A = 5e4 / 38168
    np.testing.assert_allclose(stack.pixel_size_A, pixel_A)
    np.testing.assert_allclose(stack.shift_x_A, [2 * pixel_A, 0.5 * pixel_A])  # pixels up to 3.0
    assert stack.optics.voltage_kV.tolist() == [300.0]


def test_a_cryosparc_table(tmp_path):
    rows = make_cs_rows()
    stack = read_particles(save_cs(tmp_path / "p.cs", rows))
    np.testing.assert_allclose(stack.rot_deg, cryosparc_to_relion_pose(rows["alignments3D/pose"].astype(float))[0])
    # Shifts count the alignment's pixels, not the images'.
    np.testing.assert_allclose(stack.shift_y_A, rows["alignments3D/shift"][:, 1] * 2.6, rtol=1e-6)
    np.testing.assert_allclose(stack.coordinate_x_px, np.linspace(600, 2400, 4), rtol=1e-6)
    np.testing.assert_allclose(stack.coordinate_y_px, 2000)
    np.testing.assert_allclose(stack.psi_prior_deg, 70.0, rtol=1e-6)
    np.testing.assert_allclose(stack.defocus_angle_deg, np.rad2deg(np.linspace(-1, 1, 4)), rtol=1e-6)
    assert stack.filament_id.tolist() == [0, 1, 0, 1]
    assert stack.half_set.tolist() == [1, 2, 1, 2]
    assert stack.inter_box_distance_A.tolist() == [30.0] * 4


def test_in_plane_alignments_are_read_where_there_is_no_3d(tmp_path):
    rows = make_cs_rows(**{
        "alignments3D/pose": None, "alignments3D/shift": None, "alignments3D/psize_A": None,
        "alignments3D/split": None, "alignments2D/pose": np.array([0.0, 0.5, 1.0, -1.0], "<f4"),
        "alignments2D/class": np.array([0, 1, 2, 3], "<u4"),
    })  # fmt: skip
    path = save_cs(tmp_path / "p.cs", rows)
    stack = read_particles(path)
    np.testing.assert_allclose(stack.psi_deg, np.rad2deg([0, 0.5, 1, -1]), rtol=1e-6)
    assert stack.rot_deg is None
    assert stack.class_number.tolist() == [1, 2, 3, 4]
    write_particles(tmp_path / "b.cs", stack)
    assert_same_cs(path, tmp_path / "b.cs")


def test_passthrough_files_are_joined_by_uid(tmp_path):
    rows = make_cs_rows()
    later = np.zeros(5, [("uid", "<u8"), ("pick_stats/power", "<f4")])
    later["uid"][:4] = rows["uid"][::-1]
    later["pick_stats/power"] = np.arange(5)
    save_cs(tmp_path / "p.cs", rows)
    save_cs(tmp_path / "pass.cs", later)
    stack = read_particles(tmp_path / "p.cs", passthrough=[tmp_path / "pass.cs"])
    assert stack.source.cs["pick_stats/power"].tolist() == [3, 2, 1, 0]
    assert stack.source.passthrough == (tmp_path / "pass.cs",)
    lacking = read_particles(save_cs(tmp_path / "p.cs", rows))
    for told, stands_there in ((lacking, True), (stack, False), (lacking.select(np.arange(2)), True)):
        with pytest.raises(HelixLabError, match=r"psi_prior|filament_pose") as refused:
            told.replace(psi_prior_deg=None).require("psi_prior_deg")
        assert ("or add the job's passthrough file with --passthrough" in str(refused.value)) == stands_there
    save_cs(tmp_path / "pass.cs", later[:3])
    with pytest.raises(FileFormatError, match=r"pass\.cs: 1 of the 4 particles"):
        read_particles(tmp_path / "p.cs", passthrough=[tmp_path / "pass.cs"])


# --- images -------------------------------------------------------------------------------------


def test_images_come_in_the_order_asked_for_from_the_project_folder(tmp_path, star_path):
    a, b = make_stack_file(tmp_path / "a.mrcs", 3), make_stack_file(tmp_path / "b.mrcs", 1, seed=1)
    (tmp_path / "Refine3D" / "job001").mkdir(parents=True)
    moved = tmp_path / "Refine3D" / "job001" / "p.star"
    star_path.rename(moved)
    stack = read_particles(moved)
    assert stack.check_images() == (8, 8)
    images = stack.images(np.array([2, 3, 0]))
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, [b[0], a[2], a[0]])


def test_image_files_are_not_looked_for_where_a_path_only_passes_through(tmp_path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    write_particles(tmp_path / "there" / "p.star", new_particle_stack(["a.mrcs"], [0], [0], 1.5, 8))
    make_stack_file(tmp_path / "here" / "a.mrcs", 1)
    around = tmp_path / "here" / ".." / "there" / "p.star"
    with pytest.raises(FileFormatError, match=r"a\.mrcs is not there"):
        read_particles(around).check_images()
    make_stack_file(tmp_path / "a.mrcs", 1)  # the project's folder is above both
    assert read_particles(around).check_images() == (8, 8)


def test_a_missing_image_file_says_where_it_was_looked_for(tmp_path, star_path):
    with pytest.raises(
        FileFormatError, match=r"p\.star: the image file a\.mrcs is not there; looked under .*images_root"
    ):
        read_particles(star_path, images_root=tmp_path).check_images()
    with pytest.raises(HelixLabError, match=r"images_root: .* is no folder"):
        read_particles(star_path, images_root=tmp_path / "no")


def test_rows_beyond_the_stack_and_other_box_sizes(tmp_path, star_path):
    make_stack_file(tmp_path / "a.mrcs", 2)
    make_stack_file(tmp_path / "b.mrcs", 1)
    stack = read_particles(star_path)
    for check in (stack.check_images, lambda: stack.images(np.array([0]))):
        with pytest.raises(FileFormatError, match=r"a\.mrcs: the table asks for image 3 .*, the stack has 2"):
            check()
    make_stack_file(tmp_path / "a.mrcs", 3, box=6)
    with pytest.raises(FileFormatError, match=r"found images of 6 × 6 pixels; the table .*p\.star says 8 × 8"):
        stack.check_images()


def test_compressed_stacks_are_not_read_in_batches(tmp_path):
    make_stack_file(tmp_path / "a.mrcs", 2)
    (tmp_path / "z.mrcs").write_bytes(gzip.compress((tmp_path / "a.mrcs").read_bytes()))
    stack = new_particle_stack([str(tmp_path / "z.mrcs")], [0], [0], 1.0, 8)
    with pytest.raises(FileFormatError, match="compressed stacks cannot be read in batches; decompress it"):
        stack.images(np.array([0]))


# --- nothing is lost ----------------------------------------------------------------------------


@pytest.mark.parametrize("text", [OPTICS + PARTICLES, PARTICLES + EXTRA + OPTICS, LEGACY])
def test_star_to_star_and_by_way_of_cs_word_for_word(tmp_path, text):
    path = write(tmp_path / "a.star", text)
    stack = read_particles(path)
    write_particles(tmp_path / "b.star", stack)
    assert_same_star(path, tmp_path / "b.star")
    write_particles(tmp_path / "b.cs", stack)
    back = read_particles(tmp_path / "b.cs")
    for name in ("rot_deg", "shift_x_A", "psi_prior_deg", "tilt_prior_deg", "filament_id", "coordinate_x_px"):
        np.testing.assert_array_equal(getattr(back, name), getattr(stack, name))
    write_particles(tmp_path / "c.star", back, carry_foreign=False)
    assert_same_star(path, tmp_path / "c.star")
    write_particles(tmp_path / "c.cs", back)
    assert_same_cs(tmp_path / "b.cs", tmp_path / "c.cs")


def test_cs_to_cs_and_by_way_of_star_bit_for_bit(tmp_path):
    path = save_cs(tmp_path / "a.cs", make_cs_rows())
    stack = read_particles(path)
    write_particles(tmp_path / "b.cs", stack)
    assert_same_cs(path, tmp_path / "b.cs")
    write_particles(tmp_path / "b.star", stack)
    back = read_particles(tmp_path / "b.star")
    np.testing.assert_array_equal(back.rot_deg, stack.rot_deg)
    assert back.image_files == stack.image_files
    write_particles(tmp_path / "c.cs", back, carry_foreign=False)
    assert_same_cs(path, tmp_path / "c.cs")


def test_relion_may_drop_the_block_of_types(tmp_path):
    path = save_cs(tmp_path / "a.cs", make_cs_rows())
    write_particles(tmp_path / "b.star", read_particles(path))
    text = (tmp_path / "b.star").read_text()
    write(tmp_path / "b.star", text[: text.index("# version 30001\n\ndata_cs_fields")])
    write_particles(tmp_path / "c.cs", read_particles(tmp_path / "b.star"), carry_foreign=False)
    assert_same_cs(path, tmp_path / "c.cs")


label = st.text("abcXYZ09_/.[]-", min_size=1, max_size=8).map(lambda s: "_" + s)
word = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=0, max_size=6)
number = st.floats(-1e5, 1e5).map(lambda x: f"{x:.6f}")
exact = st.floats(-1e3, 1e3).map(repr)


# Not shrunk: with this many parts that takes minutes.
@settings(
    deadline=None,
    max_examples=60,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_any_star_table_round_trips_by_way_of_cs(tmp_path, data):
    n = data.draw(st.integers(1, 5))
    column = lambda values: quoted(v.encode() for v in data.draw(st.lists(values, min_size=n, max_size=n)))  # noqa: E731
    known = ["_rlnAngleRot", "_rlnAngleTilt", "_rlnAnglePsi", "_rlnOriginXAngst", "_rlnOriginYAngst", "_rlnDefocusU",
             "_rlnAnglePsiPrior", "_rlnAngleTiltPrior", "_rlnHelicalTrackLengthAngst", "_rlnCoordinateX"]  # fmt: skip
    columns = {"_rlnImageName": column(st.integers(1, 99).map(lambda i: f"{i:06d}@a b.mrcs"))}
    columns |= {name: column(st.one_of(number, exact)) for name in data.draw(st.sets(st.sampled_from(known)))}
    columns |= {name: column(word) for name in data.draw(st.sets(label, max_size=4))}
    columns["_rlnHelicalTubeID"] = column(st.integers(1, 4).map(str))
    columns["_rlnOpticsGroup"] = column(st.sampled_from(["2", "1"]))
    optics = {
        "_rlnOpticsGroup": np.array([b"1", b"2"]),
        "_rlnImagePixelSize": np.array([b"1.234567", b"2"]),
        "_rlnExtra": quoted([b"a b", b"#"]),
    }
    star = StarFile((StarBlock("optics", optics), StarBlock("particles", columns)), "50001")
    path = tmp_path / "a.star"
    path.write_bytes(format_star(star))
    write_particles(tmp_path / "a.cs", read_particles(path), overwrite=True)
    back = read_particles(tmp_path / "a.cs")
    write_particles(tmp_path / "b.star", back, overwrite=True, carry_foreign=False)
    assert_same_star(path, tmp_path / "b.star")


cs_type = st.sampled_from(["<f4", "<f8", "<u4", "<u8", "<i8", "S5", "?", ">f4"])


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_cs_table_round_trips_by_way_of_star(tmp_path, data):
    n = data.draw(st.integers(1, 5))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    extra = {}
    for name in data.draw(st.sets(st.text("abc/_", min_size=1, max_size=6).map(lambda s: "x/" + s), max_size=4)):
        dtype = np.dtype(data.draw(cs_type))
        shape = (n, *data.draw(st.sampled_from([(), (2,), (2, 3)])))
        if dtype.kind == "S":
            values = np.array(rng.choice([b"", b"a b", b"'x", b"#", b"data_"], shape), dtype)
        else:
            values = (rng.normal(size=shape) * 10.0 ** rng.integers(-5, 5)).astype("f8")
            values = (np.abs(values) if dtype.kind == "u" else values).astype(dtype)
        extra[name] = values
    rows = make_cs_rows(6, **{k: np.resize(v, (6, *v.shape[1:])) for k, v in extra.items()})
    rows["alignments3D/pose"] = rng.normal(size=(6, 3)) * 2
    path = save_cs(tmp_path / "a.cs", rows)
    write_particles(tmp_path / "a.star", read_particles(path), overwrite=True)
    write_particles(tmp_path / "b.cs", read_particles(tmp_path / "a.star"), overwrite=True, carry_foreign=False)
    assert_same_cs(path, tmp_path / "b.cs")


# --- changes are honoured -----------------------------------------------------------------------


def test_a_changed_value_is_written_and_the_rest_stays_word_for_word(tmp_path, star_path):
    stack = read_particles(star_path)
    rot = stack.rot_deg.copy()
    rot[1] = 77.5
    write_particles(tmp_path / "b.star", stack.replace(rot_deg=rot, half_set=None))
    table = read_star(tmp_path / "b.star").block("particles").columns
    assert table["_rlnAngleRot"].tolist() == [b"1.00", b"77.500000", b"-3.00", b"4.0"]
    assert table["_myHash"].tolist() == [b'"x y"', b"b#1", b"''", b"[q"]
    assert "_rlnRandomSubset" not in table


def test_selected_rows_keep_their_text(tmp_path, star_path):
    write_particles(tmp_path / "b.star", read_particles(star_path).select(np.array([3, 0])))
    table = read_star(tmp_path / "b.star").block("particles").columns
    assert table["_myHash"].tolist() == [b"[q", b'"x y"']
    assert table["_rlnHelicalTubeID"].tolist() == [b"2", b"1"]


def test_what_cryosparc_changed_wins_over_the_carried_text(tmp_path, star_path):
    write_particles(tmp_path / "b.cs", read_particles(star_path))
    rows = read_cs(tmp_path / "b.cs")
    rows["ctf/df1_A"][2] = 9999.0
    rows["alignments3D/shift"][0] = 0
    save_cs(tmp_path / "b.cs", rows)
    stack = read_particles(tmp_path / "b.cs")
    assert stack.defocus_u_A.tolist() == [15000.123456, 15000.123456, 9999.0, 15000.123456]
    assert stack.shift_x_A.tolist() == [0.0, 1.5, 1.5, 1.5]
    write_particles(tmp_path / "c.star", stack, carry_foreign=False)
    table = read_star(tmp_path / "c.star").block("particles").columns
    assert table["_rlnDefocusU"].tolist() == [b"15000.123456", b"15000.123456", b"9999.000000", b"15000.123456"]


def test_what_relion_changed_wins_over_the_carried_columns(tmp_path):
    write_particles(tmp_path / "a.star", read_particles(save_cs(tmp_path / "a.cs", make_cs_rows())))
    lines = (tmp_path / "a.star").read_text()
    old = read_particles(tmp_path / "a.star")
    text = f"{old.defocus_u_A[3]:.6f}"
    write(tmp_path / "a.star", lines.replace(text, "12345.5", 1))
    new = read_particles(tmp_path / "a.star")
    assert new.defocus_u_A[3] == 12345.5
    write_particles(tmp_path / "b.cs", new)
    found = read_cs(tmp_path / "b.cs")
    assert found["ctf/df1_A"].tolist() == [*old.source.cs["ctf/df1_A"][:3].tolist(), 12345.5]
    np.testing.assert_array_equal(found["alignments3D/pose"], old.source.cs["alignments3D/pose"])


def test_uids_are_unique_and_the_same_in_every_run(tmp_path, star_path):
    stack = read_particles(star_path).select(np.array([0, 1, 2, 3, 0, 0]))
    for name in ("a.cs", "b.cs"):
        write_particles(tmp_path / name, stack)
    uid = read_cs(tmp_path / "a.cs")["uid"]
    assert len(set(uid.tolist())) == 6
    np.testing.assert_array_equal(uid, read_cs(tmp_path / "b.cs")["uid"])


def test_filament_directions_agree_with_the_priors(star_path):
    error = filament_direction_error_deg(read_particles(star_path))
    np.testing.assert_allclose(error[:2], 0, atol=1e-9)
    assert np.isnan(error[2:]).all()


def test_required_columns_are_named(star_path):
    stack = read_particles(star_path)
    stack.require("rot_deg", "filament_id")
    with pytest.raises(HelixLabError, match=r"p\.star: the column _rlnPhaseShift \(RELION 2\.0 and later\)"):
        stack.require("phase_shift_deg")
    with pytest.raises(HelixLabError, match="there is no column twist"):
        stack.replace(twist=1)


# --- bad STAR files -----------------------------------------------------------------------------

BAD_STARS = {
    "no image name": (OPTICS + PARTICLES.replace("_rlnImageName", "_rlnFoo"), r"_rlnImageName \(RELION 1\.0"),
    "no optics group": (OPTICS + PARTICLES.replace("_rlnOpticsGroup ", "_rlnFoo "), r"_rlnOpticsGroup \(RELION 3\.1"),
    "no pixel size": (OPTICS.replace("ImagePixelSize", "Foo") + PARTICLES, r"_rlnImagePixelSize \(RELION 3\.1"),
    "no optics at all": (PARTICLES, r"_rlnDetectorPixelSize with _rlnMagnification \(RELION up to 3\.0\)"),
    "unknown group": (OPTICS.replace("second 3", "second 4") + PARTICLES, r"row 3 belongs to optics group 3"),
    "group twice": (OPTICS.replace("second 3", "second 1") + PARTICLES, r"one _rlnOpticsGroup twice"),
    "zero pixel": (OPTICS.replace("1.250000", "0") + PARTICLES, r"found a pixel size of 0\.0 Å"),
    "duplicate label": (OPTICS + PARTICLES.replace("_myHash", "_rlnAngleRot"), r"duplicate tag _rlnAngleRot"),
    "short row": (OPTICS + PARTICLES.replace(" 1 b#1", ""), r"Wrong number of values in loop"),
    "ragged rows": ("data_p\nloop_\n_a\n_b\n1 2 3\n4\n", r"line 5 holds 3 values; the loop has 2 labels"),
    "text for number": (OPTICS + PARTICLES.replace("-3.00", "oops"), r"row 3, column _rlnAngleRot: found 'oops'"),
    "NaN": (OPTICS + PARTICLES.replace("-3.00", "nan"), r"row 3, column _rlnAngleRot: found 'nan'; needed a finite"),
    "half subset": (OPTICS + PARTICLES.replace(" 2 3 ''", " 1.5 3 ''"), r"_rlnRandomSubset: found '1.5'"),
    "image 0": (OPTICS + PARTICLES.replace("000003@", "000000@"), r"row 4: found image number 0"),
    "no rows": (OPTICS + PARTICLES[: PARTICLES.index("000001@a")], r"empty table data_particles \(0 rows\)"),
    "no block": ("hello\n", r"found no data block"),
    "model file": ("data_model_general\n_rlnX 1\n", r"no table has the column _rlnImageName"),
    "block twice": ("data_a\n_x 1\ndata_a\n_x 2\n", r"duplicate block name"),
    "unclosed quote": (OPTICS + PARTICLES + "000009@a.mrcs 'x\n", r"unterminated"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_STARS)
def test_bad_star_files_are_refused_in_words(tmp_path, name):
    text, message = BAD_STARS[name]
    with pytest.raises(FileFormatError, match=r"bad\.star: .*" + message):
        read_particles(write(tmp_path / "bad.star", text))


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "bad.star"
    path.write_bytes((OPTICS + PARTICLES).encode().replace(b"b.mrcs", b"\xe9.mrcs"))
    with pytest.raises(FileFormatError, match=r"not UTF-8 text \(0xe9, line 45\)"):
        read_particles(path)
    path.write_bytes(b"data_\0")
    with pytest.raises(FileFormatError, match="found binary data"):
        read_particles(path)


def test_missing_tables_and_wrong_endings(tmp_path, star_path):
    with pytest.raises(FileFormatError, match=r"x\.star: there is no such file; a particle table"):
        read_particles(tmp_path / "x.star")
    stack = read_particles(star_path)
    with pytest.raises(HelixLabError, match="the file exists already"):
        write_particles(star_path, stack)
    with pytest.raises(HelixLabError, match=r"written as \.star or \.cs"):
        write_particles(tmp_path / "a.csv", stack)
    with pytest.raises(FileFormatError, match=r"passthrough files belong to \.cs tables"):
        read_particles(star_path, passthrough=[star_path])


def test_any_table_can_be_read_by_its_block(tmp_path):
    path = write(tmp_path / "a.star", "data_fsc\nloop_\n_rlnI\n_rlnFsc\n_rlnName\n1 0.5 'a b'\n2 1 c\n" + EXTRA)
    table = read_star_table(path, "fsc")
    assert table["rlnI"].dtype == np.int64
    assert table["rlnFsc"].tolist() == [0.5, 1.0]
    assert table["rlnName"].tolist() == ["a b", "c"]
    with pytest.raises(FileFormatError, match="no block was named; the file has data_fsc, data_job"):
        read_star_table(path)
    with pytest.raises(FileFormatError, match="there is no block data_x"):
        read_star_table(path, "x")


# --- bad .cs files ------------------------------------------------------------------------------


class Bomb:
    """Unpickled, this would end the test run."""

    def __reduce__(self):
        return (SystemExit, ("unpickled",))


def test_pickles_are_never_opened(tmp_path):
    path = tmp_path / "p.cs"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(FileFormatError, match="Pickled files are never opened"):
        read_particles(path)
    rows = np.empty(1, [("uid", "<u8"), ("x", "O")])
    rows["x"] = Bomb()
    with pytest.raises(FileFormatError, match=r"columns of Python objects \(pickled\)"):
        read_particles(save_cs(path, rows, allow_pickle=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"uid": None}, "the column uid is missing"),
        ({"uid": np.zeros(4, "<u8")}, "one uid twice"),
        ({"uid": np.arange(4.0)}, "uid is of type float64"),
        ({"blob/path": None}, r"the column blob/path is missing. If this is a passthrough file"),
        ({"blob/psize_A": np.zeros(4, "<f4")}, r"pixel size of 0\.0 Å in blob/psize_A"),
        (
            {"alignments3D/pose": np.full((4, 3), np.nan, "<f4")},
            "row 1, column alignments3D/pose: found a value that is NaN",
        ),
        ({"alignments3D/pose": np.zeros((4, 2), "<f4")}, "alignments3D/pose is of type"),
        ({"blob/path": np.array([b"\xff.mrc"] * 4)}, "The text in column blob/path is not UTF-8"),
    ],
)
def test_bad_cs_tables_are_refused_in_words(tmp_path, change, message):
    with pytest.raises(FileFormatError, match=r"p\.cs: .*" + message):
        read_particles(save_cs(tmp_path / "p.cs", make_cs_rows(**change)))


def test_empty_truncated_and_shapeless_cs_tables(tmp_path):
    path = save_cs(tmp_path / "p.cs", make_cs_rows()[:0])
    with pytest.raises(FileFormatError, match=r"empty table \(0 rows, 25 columns\)"):
        read_particles(path)
    whole = save_cs(path, make_cs_rows()).read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(FileFormatError, match=r"the header describes 4 rows .* truncated"):
        read_particles(path)
    path.write_bytes(whole + b"more")
    with pytest.raises(FileFormatError, match=r"the header describes 4 rows .* damaged"):
        read_particles(path)
    with pytest.raises(FileFormatError, match="needed a CryoSPARC table"):
        read_particles(save_cs(path, np.zeros((3, 3))))
    # A header that promises 10^15 rows allocates nothing.
    path.write_bytes(whole.replace(b"'shape': (4,), ", b"'shape': (999999999999999,), "))
    with pytest.raises(FileFormatError):
        read_particles(path)


# --- fuzz ---------------------------------------------------------------------------------------


def reads_or_refuses(path):
    for reader in (read_particles, describe_file):
        try:
            reader(path)
        except HelixLabError as err:
            message = str(err)
        else:
            message = str(path)
        assert str(path) in message


def damage(raw, data):
    raw = bytearray(raw)
    for bit in data.draw(st.lists(st.integers(0, 8 * len(raw) - 1), max_size=5)):
        raw[bit // 8] ^= 1 << bit % 8
    if data.draw(st.booleans()):
        start = data.draw(st.integers(0, len(raw)))
        del raw[start : start + data.draw(st.integers(0, 60))]
    return bytes(raw[: data.draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))))])


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_star_files_are_read_or_refused(tmp_path, data):
    path = tmp_path / "fuzz.star"
    path.write_bytes(damage((OPTICS + PARTICLES + EXTRA).encode(), data))
    reads_or_refuses(path)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_cs_files_are_read_or_refused(tmp_path, data):
    path = tmp_path / "fuzz.cs"
    if "carried" not in CACHE:
        write(tmp_path / "p.star", OPTICS + PARTICLES)
        write_particles(path, read_particles(tmp_path / "p.star"), overwrite=True)
        CACHE["carried"] = path.read_bytes()
        save_cs(path, make_cs_rows())
        CACHE["plain"] = path.read_bytes()
    path.write_bytes(damage(CACHE[data.draw(st.sampled_from(["plain", "carried"]))], data))
    reads_or_refuses(path)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_carried_columns_are_read_or_refused(tmp_path, data):
    path = tmp_path / "fuzz.star"
    if "star" not in CACHE:
        write_particles(path, read_particles(save_cs(tmp_path / "a.cs", make_cs_rows(2))), overwrite=True)
        CACHE["star"] = path.read_bytes()
    path.write_bytes(damage(CACHE["star"], data))
    reads_or_refuses(path)


CACHE: dict[str, bytes] = {}
