"""Maps and image stacks: what is read is what was written, and what is wrong is refused in words."""

import bz2
import gzip
import os
import struct
import warnings

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helixlab.errors import FileFormatError, HelixLabError
from helixlab.geometry import Volume
from helixlab.io import describe_file, read_image_stack, read_volume, write_volume


def make_volume(shape=(5, 6, 7), seed=0):
    data = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return Volume(data, 1.06, (1.5, -2.0, 3.25))


def write_mrc(path, data, voxel=1.5, **header):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.new(path, overwrite=True) as mrc:
            mrc.set_data(data)
            mrc.voxel_size = voxel
            if data.ndim == 3:
                mrc.set_volume()
            for name, value in header.items():
                mrc.header[name] = value


def with_word(path, word, value, kind="<i"):
    """The file with one 4-byte word (counted from 1, as the format's tables do) changed."""
    raw = bytearray(path.read_bytes())
    raw[4 * (word - 1) : 4 * word] = struct.pack(kind, value)
    path.write_bytes(raw)


@pytest.fixture
def map_path(tmp_path):
    path = tmp_path / "map.mrc"
    write_volume(path, make_volume())
    return path


# --- round trips --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.mrc", "a.map", "a.ccp4", "a.mrc.gz", "a.map.bz2"])
def test_a_map_is_read_as_it_was_written(tmp_path, name):
    volume = make_volume()
    write_volume(tmp_path / name, volume)
    found = read_volume(tmp_path / name)
    np.testing.assert_array_equal(found.data, volume.data)
    assert found.pixel_size_A == 1.06
    assert found.origin_A == volume.origin_A


@pytest.mark.parametrize("dtype", ["float16", "int8", "int16", "uint16"])
def test_other_types_round_and_nothing_else(tmp_path, dtype):
    volume = Volume(np.arange(60, dtype=np.float32).reshape(3, 4, 5) + 0.25, 2.0)
    write_volume(tmp_path / "a.mrc", volume, dtype=dtype)
    expected = volume.data if dtype == "float16" else np.rint(volume.data)  # 59.25 needs 8 of float16's 11 bits
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mrc").data, expected)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.tuples(*[st.integers(2, 6)] * 3),
    st.floats(0.1, 20.0),
    st.tuples(*[st.floats(-1e4, 1e4, width=32)] * 3),
    st.integers(0, 2**31),
)
def test_any_map_round_trips(tmp_path, shape, pixel_A, origin_A, seed):
    volume = Volume(make_volume(shape, seed).data, pixel_A, origin_A)
    write_volume(tmp_path / "a.mrc", volume, overwrite=True)
    found = read_volume(tmp_path / "a.mrc")
    np.testing.assert_array_equal(found.data, volume.data)
    # The cell edge, n × pixel, is a float32; the quotient is given to seven digits.
    assert found.pixel_size_A == pytest.approx(pixel_A, rel=6e-7)  # half of the seventh digit, and float32's rounding
    assert found.origin_A == origin_A


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 3, 1), (2, 1, 3), (1, 3, 2), (3, 2, 1)])
def test_the_axis_order_of_the_header_is_undone(tmp_path, order):
    mapc, mapr, maps = order
    volume = make_volume((4, 5, 6))
    # In the file, sections run along axis maps: the transpose of the array in z, y, x.
    stored = volume.data.transpose([3 - axis for axis in (maps, mapr, mapc)])
    path = tmp_path / "a.mrc"
    starts = {"nxstart": mapc * 10, "nystart": mapr * 10, "nzstart": maps * 10}
    write_mrc(path, np.ascontiguousarray(stored), 1.0, mapc=mapc, mapr=mapr, maps=maps, mx=6, my=5, mz=4, **starts)
    with_word(path, 11, 6 * 1.25, "<f")
    with_word(path, 12, 5 * 1.25, "<f")
    with_word(path, 13, 4 * 1.25, "<f")
    found = read_volume(path)
    np.testing.assert_array_equal(found.data, volume.data)
    assert found.pixel_size_A == 1.25
    # The start words count columns, rows, sections; column axis mapc began at 10·mapc, whatever its place.
    assert found.origin_A == (12.5, 25.0, 37.5)


def test_origin_words_come_before_start_words(map_path):
    with_word(map_path, 5, -3)
    assert read_volume(map_path).origin_A == (1.5, -2.0, 3.25)
    for word in (50, 51, 52):
        with_word(map_path, word, 0.0, "<f")
    assert read_volume(map_path).origin_A == pytest.approx((-3.18, 0, 0))


def test_big_endian_and_stampless_files_are_read(tmp_path, map_path):
    expected = read_volume(map_path).data
    raw = bytearray(map_path.read_bytes())
    raw[208:216] = bytes(8)  # neither MAP nor machine stamp
    map_path.write_bytes(raw)
    np.testing.assert_array_equal(read_volume(map_path).data, expected)
    assert describe_file(map_path)["header_notes"]
    big = tmp_path / "big.mrc"
    write_mrc(big, expected.astype(">f4"))
    np.testing.assert_array_equal(read_volume(big).data, expected)


def test_imod_bytes_without_the_sign_flag_are_unsigned(tmp_path):
    path = tmp_path / "a.mrc"
    write_mrc(path, np.full((2, 3, 4), -56, np.int8))
    assert read_volume(path).data.max() == -56
    with_word(path, 39, 1146047817)
    with_word(path, 40, 0)
    assert read_volume(path).data.min() == 200


def test_a_given_pixel_size_replaces_the_header(map_path):
    assert read_volume(map_path, pixel_size_A=2.0).pixel_size_A == 2.0
    with pytest.raises(HelixLabError, match=r"pixel_size_A: found -1.0; it must be a positive number"):
        read_volume(map_path, pixel_size_A=-1.0)


def test_the_header_written_is_valid_and_names_its_maker(map_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert mrcfile.validate(map_path, print_file=open(os.devnull, "w"))  # noqa: SIM115
    with mrcfile.open(map_path) as mrc:
        assert bytes(mrc.header.label[0]).startswith(b"HelixLab 0.")
        assert float(mrc.header.dmax) == pytest.approx(float(mrc.data.max()))
        assert float(mrc.header.rms) == pytest.approx(float(mrc.data.std()), rel=1e-5)
        assert int(mrc.header.ispg) == 1


# --- refusals of the writer ---------------------------------------------------------------------


def test_nothing_is_overwritten_unasked_and_nothing_is_left_behind(map_path):
    before = map_path.read_bytes()
    with pytest.raises(HelixLabError, match=r"map\.mrc: the file exists already; .* overwrite=True"):
        write_volume(map_path, make_volume(seed=1))
    assert map_path.read_bytes() == before
    write_volume(map_path, make_volume(seed=1), overwrite=True)
    assert map_path.read_bytes() != before
    assert [p.name for p in map_path.parent.iterdir()] == ["map.mrc"]


def test_a_failed_write_leaves_the_old_file(map_path, monkeypatch):
    before = map_path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(HelixLabError, match="cannot be written: No space left on device"):
        write_volume(map_path, make_volume(seed=1), overwrite=True)
    assert map_path.read_bytes() == before
    assert [p.name for p in map_path.parent.iterdir()] == ["map.mrc"]


@pytest.mark.parametrize("name", ["a.tif", "a.mrcs", "a.mrc.zip", "a"])
def test_a_map_needs_a_maps_name(tmp_path, name):
    with pytest.raises(HelixLabError, match=r"a map's name ends in \.mrc"):
        write_volume(tmp_path / name, make_volume())


def test_a_missing_folder_and_densities_that_do_not_fit(tmp_path):
    with pytest.raises(HelixLabError, match="does not exist; create it first"):
        write_volume(tmp_path / "no" / "a.mrc", make_volume())
    with pytest.raises(HelixLabError, match="do not fit into int8"):
        write_volume(tmp_path / "a.mrc", Volume(np.full((2, 2, 2), 300, np.float32), 1.0), dtype="int8")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("unchecked_types")
def test_an_unknown_type_is_refused(tmp_path):
    with pytest.raises(HelixLabError, match="dtype: found 'int64'"):
        write_volume(tmp_path / "a.mrc", make_volume(), dtype="int64")


# --- refusals of the reader ---------------------------------------------------------------------


def test_missing_file_folder_and_empty_file(tmp_path):
    with pytest.raises(FileFormatError, match=r"x\.mrc: there is no such file; a map"):
        read_volume(tmp_path / "x.mrc")
    with pytest.raises(FileFormatError, match="this is a folder"):
        read_volume(tmp_path)
    (tmp_path / "e.mrc").write_bytes(b"")
    with pytest.raises(FileFormatError, match=r"empty \(0 bytes\)"):
        read_volume(tmp_path / "e.mrc")


def test_zero_voxel_size_says_what_to_pass(map_path):
    for word in (11, 12, 13):
        with_word(map_path, word, 0.0, "<f")
    message = r"map\.mrc: .* voxel size is 0; correct it or pass it, e\.g\. read_volume\(path, pixel_size_A=1\.06\)\."
    with pytest.raises(FileFormatError, match=message):
        read_volume(map_path)
    assert read_volume(map_path, pixel_size_A=1.06).pixel_size_A == 1.06


def test_anisotropic_voxels_are_refused_unless_overruled(map_path):
    with_word(map_path, 13, 5 * 1.10, "<f")
    with pytest.raises(FileFormatError, match=r"found a voxel of 1\.06 × 1\.06 × 1\.1 Å; a helical map needs cubic"):
        read_volume(map_path)
    assert read_volume(map_path, pixel_size_A=1.06).pixel_size_A == 1.06


def test_nan_and_infinity_are_counted(tmp_path):
    data = make_volume().data.copy()
    data[1, 2, 3], data[0, 0, 0] = np.nan, np.inf
    write_mrc(tmp_path / "a.mrc", data)
    with pytest.raises(FileFormatError, match=r"a\.mrc: .*found 2 values that are NaN or infinite"):
        read_volume(tmp_path / "a.mrc")
    assert describe_file(tmp_path / "a.mrc")["n_not_finite"] == 2


def test_truncated_and_too_long_files(map_path):
    whole = map_path.read_bytes()
    map_path.write_bytes(whole[:-4])
    with pytest.raises(FileFormatError, match=rf"found {len(whole) - 4} bytes; the header describes .* truncated"):
        read_volume(map_path)
    map_path.write_bytes(whole + b"garbage")
    with pytest.raises(FileFormatError, match="The 7 bytes too many"):
        read_volume(map_path)
    map_path.write_bytes(whole[:500])
    with pytest.raises(FileFormatError, match=r"found 500 bytes; needed .* header alone has 1024"):
        read_volume(map_path)


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compressed_files_are_checked_alike(tmp_path, map_path, suffix, compress):
    whole = map_path.read_bytes()
    path = tmp_path / f"map.mrc{suffix}"
    path.write_bytes(compress(whole[:-4]))
    with pytest.raises(FileFormatError, match=r"after decompression; .* truncated"):
        read_volume(path)
    path.write_bytes(compress(whole + b"x"))
    with pytest.raises(FileFormatError, match="more bytes than that"):
        read_volume(path)
    path.write_bytes(compress(whole)[:-20])
    with pytest.raises(FileFormatError, match=r"map\.mrc.*cannot be read"):
        read_volume(path)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress])
def test_a_header_of_terabytes_allocates_nothing(tmp_path, map_path, compress):
    for word in (1, 2, 3):
        with_word(map_path, word, 2_000_000_000)
    path = tmp_path / "huge.mrc"
    path.write_bytes(compress(map_path.read_bytes()))
    with pytest.raises(FileFormatError, match="truncated or its header is damaged"):
        read_volume(path)


def test_complex_unknown_and_negative_headers(map_path):
    with_word(map_path, 4, 4)
    with pytest.raises(FileFormatError, match="mode 4, a complex transform"):
        read_volume(map_path)
    with_word(map_path, 4, 77)
    with pytest.raises(FileFormatError, match="mode 77"):
        read_volume(map_path)
    with_word(map_path, 4, 2)
    with_word(map_path, 1, -7)
    with pytest.raises(FileFormatError, match="positive sizes"):
        read_volume(map_path)
    with_word(map_path, 1, 7)
    with_word(map_path, 18, 1)
    with pytest.raises(FileFormatError, match="MAPC, MAPR, MAPS = 1, 1, 3"):
        read_volume(map_path)


def test_something_else_is_no_map(tmp_path):
    (tmp_path / "a.mrc").write_text("not a map at all. " * 100)
    with pytest.raises(FileFormatError, match="without the word MAP"):
        read_volume(tmp_path / "a.mrc")


def test_stacks_and_single_images_are_no_maps(tmp_path, map_path):
    stack = tmp_path / "a.mrcs"
    stack.write_bytes(map_path.read_bytes())
    with pytest.raises(FileFormatError, match="found a stack of 5 images of 7 × 6 pixels; needed a map"):
        read_volume(stack)
    with_word(map_path, 23, 0)  # ISPG 0 and MZ 1: the standard's mark of a stack
    with_word(map_path, 10, 1)
    with pytest.raises(FileFormatError, match="found a stack of 5 images"):
        read_volume(map_path)
    write_mrc(tmp_path / "b.mrc", np.zeros((1, 4, 4), np.float32))
    with pytest.raises(FileFormatError, match="found one image of 4 × 4 pixels"):
        read_volume(tmp_path / "b.mrc")


# --- image stacks -------------------------------------------------------------------------------


def test_images_are_read_by_index(tmp_path):
    data = make_volume().data
    write_mrc(tmp_path / "a.mrcs", data.astype(np.float16))
    images, pixel_A = read_image_stack(tmp_path / "a.mrcs", np.array([3, 0, 3]))
    assert images.dtype == np.float32
    assert pixel_A == 1.5
    np.testing.assert_array_equal(images, data.astype(np.float16).astype(np.float32)[[3, 0, 3]])
    with pytest.raises(FileFormatError, match=r"asks for image 6 \(counted from 1\), the stack has 5"):
        read_image_stack(tmp_path / "a.mrcs", np.array([5]))


def test_a_nan_in_an_image_names_the_image(tmp_path):
    data = make_volume().data.copy()
    data[3, 0, 0] = np.nan
    write_mrc(tmp_path / "a.mrcs", data)
    with pytest.raises(FileFormatError, match=r"image 4 \(counted from 1\) holds values that are NaN"):
        read_image_stack(tmp_path / "a.mrcs")
    assert len(read_image_stack(tmp_path / "a.mrcs", np.array([0, 1]))[0]) == 2


# --- fuzz ---------------------------------------------------------------------------------------


def reads_or_refuses(path):
    for reader in (read_volume, read_image_stack, describe_file):
        try:
            reader(path)
        except HelixLabError as err:
            message = str(err)
        else:
            message = str(path)
        assert str(path) in message


@settings(deadline=None, max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_maps_are_read_or_refused(tmp_path, data):
    path = tmp_path / "fuzz.mrc"
    write_volume(path, make_volume((3, 4, 5)), overwrite=True)
    raw = bytearray(path.read_bytes())
    compress = data.draw(st.sampled_from([bytes, gzip.compress, bz2.compress]))
    if data.draw(st.booleans()):  # inside the file, or in its compressed form
        raw = bytearray(compress(bytes(raw)))
        compress = bytes
    for bit in data.draw(st.lists(st.integers(0, 8 * min(len(raw), 1100) - 1), max_size=4)):
        raw[bit // 8] ^= 1 << bit % 8
    raw = raw[: data.draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))))]
    path.write_bytes(compress(bytes(raw)))
    reads_or_refuses(path)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=3000))
def test_noise_is_refused(tmp_path, noise):
    path = tmp_path / "noise.mrc"
    path.write_bytes(noise)
    reads_or_refuses(path)
