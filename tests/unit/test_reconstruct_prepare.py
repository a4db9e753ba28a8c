"""Where the images' transforms lie, how much memory is free, and batches over devices."""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pytest

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry
from helixlab.io import read_particles
from helixlab.kernels._sharded import mesh_of, shard_count
from helixlab.reconstruct import RefinementSettings, band_store, memory
from helixlab.reconstruct.band_store import FileBands, MemoryBands, new_band_store
from helixlab.reconstruct.devices import batches, spread, summed_over_devices, zeros_by_device
from helixlab.reconstruct.maximisation import accumulate
from helixlab.reconstruct.noise import image_power
from helixlab.reconstruct.poses import Poses
from helixlab.reconstruct.prepare import prepare_particles
from helixlab.simulate import OpticsSettings, ParticleSettings, simulate_particles

SETTINGS = RefinementSettings(twist_deg=-101.1, rise_A=5.13)
KB = 1024


# 5 frequencies: fewer than a file has parts; 101: parts of 6 and 7.
@pytest.mark.parametrize("n_frequencies", [5, 101])
def test_a_file_gives_back_what_memory_does(tmp_path, n_frequencies):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(11, 2, n_frequencies)).astype(np.float32)
    file, memory_ = FileBands(11, n_frequencies, tmp_path), MemoryBands(np.empty_like(x))
    for store in (file, memory_):
        for first in (8, 0, 4):  # in any order
            store.write(first, x[first : first + 4])
        assert store.shape == (11, 2, n_frequencies)
    for rows in ([0], [10, 9, 0], [3, 3, 4, 5, 9, 9], range(11), []):
        wanted = np.array(rows, int)
        for count in (1, 5, n_frequencies - 1, n_frequencies):
            assert np.array_equal(file.read(wanted, count), x[wanted, :, :count])
            assert np.array_equal(memory_.read(wanted, count), x[wanted, :, :count])


def test_a_scratch_file_leaves_nothing(tmp_path):
    store = FileBands(2, 3, tmp_path)
    store.write(0, np.ones((2, 2, 3), np.float32))
    del store
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_file_that_fails_says_where_and_what_to_do(tmp_path):
    with pytest.raises(HelixLabError, match=r"missing: a scratch file of 0\.0 GB .* set TMPDIR"):
        FileBands(2, 3, tmp_path / "missing")
    short = FileBands(2, 3, tmp_path)
    with pytest.raises(HelixLabError, match="the file ends too soon"):
        short.read(np.array([1]), 3)


def test_transforms_stay_in_memory_where_a_quarter_of_it_holds_them(monkeypatch, tmp_path):
    monkeypatch.setattr(band_store, "free_memory_bytes", lambda: 4 * 8 * 10 * 7)
    assert isinstance(new_band_store(10, 7, tmp_path), MemoryBands)
    assert isinstance(new_band_store(10, 8, tmp_path), FileBands)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    few = ParticleSettings(
        n_filaments=4, segments_per_filament=9, box_px=32, pixel_size_A=5.0, optics=(OpticsSettings(snr=0.1),)
    )
    folder = tmp_path_factory.mktemp("segments")
    made = simulate_particles("builtin", HelicalSymmetry(-101.1, 5.13), folder, few)
    return read_particles(made.files["star"])


def test_whitened_images_have_the_power_that_their_mask_leaves(stack):
    rows = np.arange(len(stack))
    whole = dataclasses.replace(prepare_particles(stack, SETTINGS), optics_group=rows % 2)
    x, ctf, band = whole.whitened(rows, image_power(whole), whole.last_shell)
    _, plain, _ = whole.whitened(rows, np.ones((2, whole.last_shell + 1)), whole.last_shell)
    for group in (0, 1):
        power = np.sum(np.asarray(x)[group::2] ** 2, axis=1).mean(axis=0)
        of_shell = np.bincount(band.shell, power)[1:] / np.bincount(band.shell)[1:]
        # Sums of 18 images, in float32.
        assert of_shell == pytest.approx(np.full(whole.last_shell, whole.mask_power), rel=1e-5)
    gain = image_power(whole)[rows % 2][:, np.asarray(band.shell)] ** -0.5
    assert np.allclose(ctf, plain * gain, rtol=1e-5)


def test_neither_the_store_nor_the_batches_change_what_is_made_of_images(stack, monkeypatch, tmp_path):
    whole = prepare_particles(stack, SETTINGS)
    monkeypatch.setattr(band_store, "free_memory_bytes", lambda: 0)
    parts = prepare_particles(stack, SETTINGS.replaced(batch_size=5), scratch_dir=tmp_path)
    assert isinstance(whole.x, MemoryBands)
    assert isinstance(parts.x, FileBands)
    rows, count = np.arange(36), len(whole.band.k)
    # Transforms of single images: the same but for the order of sums in a Fourier transform, 100 eps of the largest.
    tolerance = 100 * np.finfo(np.float32).eps * np.abs(whole.x.read(rows, count)).max()
    assert np.allclose(whole.x.read(rows, count), parts.x.read(rows, count), rtol=0, atol=tolerance)
    # Sums over images: as many roundings as images, each of eps.
    noise, other_noise = image_power(whole), image_power(parts)
    assert np.allclose(noise, other_noise, rtol=1e-5)
    poses = Poses(rows, rows % 2 == 0, np.tile([10.0, 90.0, 0.0], (36, 1)), np.zeros((36, 2)), np.ones(36))
    one, two = (np.asarray(accumulate(p, poses, noise)) for p in (whole, parts))
    assert np.linalg.norm(one - two) < 1e-5 * np.linalg.norm(one)


def test_batches_cover_every_image_once_and_are_as_large_as_allowed():
    for count, size in ((1, None), (7, 3), (300, None), (600, None)):
        found = list(batches(count, 8.0, most=512, batch_bytes=1 << 20, size=size))
        assert np.array_equal(np.concatenate([rows[valid] for rows, valid in found]), np.arange(count))
        assert len({len(rows) for rows, _ in found}) == 1
    assert list(batches(0, 8.0, most=512, batch_bytes=1 << 20)) == []  # a group without images
    # Where the number varies few sizes come.
    sizes = {len(next(batches(n, 8.0, most=512, batch_bytes=1 << 20, varies=True))[0]) for n in range(1, 600)}
    assert sizes == {1 << n for n in range(10)}
    # 8 copies of 8 bytes each.
    assert len(next(batches(600, 8.0, most=512, batch_bytes=64 * 40))[0]) == 32
    assert len(next(batches(600, 8.0, most=512, batch_bytes=1))[0]) == 1


def test_one_device_needs_no_spreading():
    x = np.arange(6.0, dtype=np.float32)
    assert mesh_of(spread(x)) is None
    assert shard_count(spread(x)) == 1
    assert np.array_equal(summed_over_devices(zeros_by_device(spread(x))), x)


def test_a_batch_takes_no_more_than_is_free(monkeypatch):
    for free in (0, 1, 1 << 20, 3 << 30):
        monkeypatch.setattr(memory, "free_memory_bytes", lambda free=free: free)
        found = memory.batch_bytes()
        assert found & (found - 1) == 0
        assert found <= max(1, free // 8)


class TestFreeMemory:
    """By files as Linux writes them, in a folder."""

    @pytest.fixture(autouse=True)
    def system(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        for name, file in (("_MEMINFO", "meminfo"), ("_STATUS", "status"), ("_CGROUP_OF_SELF", "cgroup")):
            monkeypatch.setattr(memory, name, tmp_path / file)
        monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "cgroups")
        (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemFree:  10 kB\nMemAvailable:  8000 kB\n")
        return tmp_path

    def test_is_what_the_machine_has(self):
        assert memory.free_memory_bytes() == 8000 * KB

    def test_is_what_the_tightest_group_has(self, system):
        (system / "cgroup").write_text("0::/job/part\n")
        for folder, limit in (("job", f"{5000 * KB}"), ("job/part", "max")):
            place = system / "cgroups" / folder
            place.mkdir(parents=True)
            (place / "memory.max").write_text(limit + "\n")
            (place / "memory.current").write_text(f"{3000 * KB}\n")
            (place / "memory.stat").write_text(f"anon 7\ninactive_file {1000 * KB}\n")
        assert memory.free_memory_bytes() == 3000 * KB

    def test_is_what_a_group_of_the_older_kind_has(self, system):
        (system / "cgroup").write_text("4:memory:/job\n3:cpuset:/\n")
        place = system / "cgroups/memory"  # a container: its own group is the top
        place.mkdir(parents=True)
        (place / "memory.limit_in_bytes").write_text(f"{2000 * KB}\n")
        (place / "memory.usage_in_bytes").write_text(f"{1500 * KB}\n")
        assert memory.free_memory_bytes() == 500 * KB

    def test_is_what_the_limit_of_the_process_leaves(self, system, monkeypatch):
        resource = pytest.importorskip("resource", reason="Windows knows no such limits")
        (system / "status").write_text("VmPeak:  7000 kB\nVmSize:  6000 kB\n")
        monkeypatch.setattr(resource, "getrlimit", lambda which: (7000 * KB, resource.RLIM_INFINITY))
        assert memory.free_memory_bytes() == 1000 * KB

    def test_is_never_negative(self, system):
        (system / "meminfo").write_text("MemAvailable:  0 kB\n")
        assert memory.free_memory_bytes() == 0

    def test_is_guessed_where_the_system_says_nothing(self, system):
        (system / "meminfo").unlink()
        assert memory.free_memory_bytes() > 0


def test_scratch_files_lie_where_temporary_files_do_unless_told(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(HelixLabError, match="missing: a scratch file"):
        FileBands(2, 3)
