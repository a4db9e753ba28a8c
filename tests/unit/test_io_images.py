"""Images in batches: every type of pixel, several files, bad images named, memory bounded by the batch."""

import dataclasses
import subprocess
import sys
import textwrap
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from helixlab.errors import FileFormatError, HelixLabError
from helixlab.io import ParticleStack, new_particle_stack
from helixlab.io.ctf_columns import ctf_columns
from helixlab.io.images import BadImagesError, ImageSource, new_image_stack
from helixlab.kernels.ctf import CtfParameters

BOX = 6


def write_stack(path: Path, images: np.ndarray) -> None:
    with mrcfile.new(path) as mrc:
        mrc.set_data(images)
        mrc.set_image_stack()


def two_files(folder: Path, dtype: str) -> tuple[ParticleStack, np.ndarray]:
    """Five and four images; the rows go through both files in no order."""
    images = np.random.default_rng(0).integers(0, 100, (9, BOX, BOX)).astype(dtype)
    write_stack(folder / "a.mrcs", images[:5])
    write_stack(folder / "b.mrcs", images[5:])
    order = np.array([7, 0, 1, 2, 8, 4, 5, 3, 6])
    files, index = (order >= 5).astype(int), np.where(order >= 5, order - 5, order)
    names = [str(folder / name) for name in ("a.mrcs", "b.mrcs")]
    return new_particle_stack(names, files, index, 1.5, BOX), images[order].astype(np.float32)


@pytest.mark.parametrize("dtype", ["float32", "int16", "int8", "float16", "uint16", ">f4", ">i2"])
def test_batches_of_every_type(tmp_path: Path, dtype: str) -> None:
    stack, images = two_files(tmp_path, dtype)
    source = ImageSource(stack)
    assert (len(source), source.box_px) == (9, BOX)
    rows = np.array([3, 3, 8, 0, 1])
    batch = source.read_batch(rows)
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch, images[rows])
    parts = list(source.batches(4))
    assert [len(part.rows) for part in parts] == [4, 4, 1]
    np.testing.assert_array_equal(np.concatenate([part.images for part in parts]), images)


def test_bytes_of_imod_are_unsigned(tmp_path: Path) -> None:
    images = np.arange(2 * BOX * BOX, dtype=np.int8).reshape(2, BOX, BOX)
    write_stack(tmp_path / "a.mrcs", images.view(np.int8))
    with (tmp_path / "a.mrcs").open("r+b") as file:
        file.seek(152)  # IMOD's stamp, and its flags without "signed"
        file.write(np.array([1146047817, 0], "<i4").tobytes())
        file.seek(1024)
        file.write(bytes([200]))
    source = ImageSource(new_particle_stack([str(tmp_path / "a.mrcs")], [0, 0], [0, 1], 1.0, BOX))
    assert source.read_batch(np.array([0]))[0, 0, :2].tolist() == [200.0, 1.0]


def test_bad_images_are_named_by_row(tmp_path: Path) -> None:
    stack, images = two_files(tmp_path, "float32")
    with mrcfile.open(tmp_path / "b.mrcs", "r+") as mrc:
        mrc.data[2, 1, 1] = np.nan  # row 0
        mrc.data[3, 0, 0] = np.inf  # row 4
        mrc.data[0] = 7.0  # row 6
    source = ImageSource(stack)
    found = source.find_bad(batch_size=2)
    assert [bad.row for bad in found] == [0, 4, 6]
    assert str(found[0]) == f"row 1 (000003@{tmp_path}/b.mrcs): holds values that are NaN or infinite"
    assert found[2].reason == "every pixel is 7"
    marked = source.read_marked(np.array([1, 4]))
    np.testing.assert_array_equal(marked.images[0], images[1])
    assert not marked.images[1].any()
    with pytest.raises(BadImagesError, match=r"row 5 .*NaN.*Leave these rows out") as caught:
        source.read_batch(np.array([1, 4]))
    assert [bad.row for bad in caught.value.bad] == [4]
    good = stack.select(np.setdiff1d(np.arange(9), [bad.row for bad in found]))
    assert ImageSource(good).find_bad() == ()


def test_files_are_checked_before_any_work(tmp_path: Path) -> None:
    stack, _ = two_files(tmp_path, "float32")
    with pytest.raises(FileFormatError, match="asks for image 6"):
        ImageSource(stack.replace(image_index=stack.image_index + 1))
    with pytest.raises(FileFormatError, match=r"6 × 6 pixels; the table .* says 8 × 8"):
        ImageSource(new_particle_stack([str(tmp_path / "a.mrcs")], [0], [0], 1.5, 8))
    write_stack(tmp_path / "c.mrcs", np.ones((2, 4, 8), np.float32))
    with pytest.raises(FileFormatError, match=r"8 × 4 pixels; needed squares"):
        ImageSource(new_particle_stack([str(tmp_path / "c.mrcs")], [0], [0], 1.5, 0))
    with pytest.raises(FileFormatError, match="there"):
        ImageSource(new_particle_stack([str(tmp_path / "none.mrcs")], [0], [0], 1.5, 0))
    source = ImageSource(stack)
    with pytest.raises(HelixLabError, match=r"rows: found 9; .* 0 to 8"):
        source.read_batch(np.array([9]))
    with pytest.raises(HelixLabError, match="batch_size: found 0"):
        next(source.batches(0))
    content = (tmp_path / "a.mrcs").read_bytes()
    (tmp_path / "a.mrcs").write_bytes(content[:-8])
    with pytest.raises(FileFormatError, match=r"a\.mrcs: found .* truncated"):
        ImageSource(stack)
    with pytest.raises(FileFormatError, match=r"a\.mrcs: cannot be read"):
        source.read_batch(np.array([5]))


def test_stack_larger_than_the_address_space_left(tmp_path: Path) -> None:
    with new_image_stack(tmp_path / "big.mrcs", 4096, 128, 1.0) as images:
        images[-1] = np.arange(128)
    script = f"""
        import resource, numpy as np
        from helixlab.io import new_particle_stack
        from helixlab.io.images import ImageSource
        n = 4096
        stack = new_particle_stack([{str(tmp_path / "big.mrcs")!r}], np.zeros(n, int), np.arange(n), 1.0, 128)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        limit = used + (64 << 20)  # the stack is four times that
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        source = ImageSource(stack)
        print(sum(len(batch.bad) for batch in source.batches(64)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("4095", "")


def test_written_stack_is_read_by_others(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(3, 8, 8)).astype(np.float32)
    with new_image_stack(tmp_path / "a.mrcs", 3, 8, 1.7) as out:
        out[:2], out[2] = images[:2], images[2]
    assert mrcfile.validate(tmp_path / "a.mrcs")
    with mrcfile.open(tmp_path / "a.mrcs") as mrc:
        np.testing.assert_array_equal(mrc.data, images)
        assert mrc.is_image_stack()
        assert float(mrc.voxel_size.x) == pytest.approx(1.7)
    with pytest.raises(HelixLabError, match="exists already"), new_image_stack(tmp_path / "a.mrcs", 1, 8, 1.0):
        pass


def test_ctf_columns_are_those_of_the_table() -> None:
    stack = new_particle_stack(["a.mrcs"], [0, 0], [0, 1], 1.0, 64)
    u, v = np.array([1e4, 2e4]), np.array([1e4, np.nan])
    stack = stack.replace(defocus_u_A=u, defocus_v_A=u, defocus_angle_deg=0 * u)
    with pytest.raises(FileFormatError, match=r"_rlnVoltage \(ctf/accel_kv\) of the optics groups is missing"):
        ctf_columns(stack)
    optics = dataclasses.replace(
        stack.optics, voltage_kV=np.array([200.0]), cs_mm=np.array([1.4]), amplitude_contrast=np.array([0.07])
    )
    stack = stack.replace(optics=optics)
    columns = ctf_columns(stack)
    assert columns["voltage_kV"].tolist() == [200.0, 200.0]
    assert (columns["scale"].tolist(), columns["bfactor_A2"].tolist()) == ([1.0, 1.0], [0.0, 0.0])
    assert len(CtfParameters(**columns)) == 2
    with pytest.raises(FileFormatError, match=r"row 2 \(1 in all\) has no _rlnDefocusV \(ctf/df2_A\)"):
        ctf_columns(stack.replace(defocus_v_A=v))
