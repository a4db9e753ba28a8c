"""The same refinement on several devices, in little memory, and without compiling anything again."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.io import read_particles, read_volume, write_volume
from helixlab.reconstruct import RefinementSettings, expectation, grid_search, maximisation, noise
from helixlab.reconstruct.band_store import FileBands, MemoryBands
from helixlab.reconstruct.begin import init
from helixlab.reconstruct.checkpoint import state_from_arrays, state_to_arrays
from helixlab.reconstruct.poses import Poses
from helixlab.reconstruct.prepare import PreparedParticles, prepare_particles
from helixlab.reconstruct.state import RefinementState
from helixlab.reconstruct.step import step
from helixlab.reconstruct.symmetry_update import SymmetryEstimate
from helixlab.simulate import OpticsSettings, ParticleSettings, SimulatedParticles, simulate_particles

TRUTH = HelicalSymmetry(-101.1, 5.13)
# Every step of an iteration: two noise spectra, symmetry in real space, small ranges of poses.
SETTINGS = RefinementSettings(
    twist_deg=TRUTH.twist_deg,
    rise_A=TRUTH.rise_A,
    realspace_symmetrize_res_A=100,
    noise_per_optics_group=True,
    tilt_prior_sd_deg=3,
    psi_prior_sd_deg=3,
    shift_range_across_A=8,
)
N_DEVICES = 4
BOX_PX = 40


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> SimulatedParticles:
    few = ParticleSettings(
        n_filaments=10,
        segments_per_filament=7,
        box_px=BOX_PX,
        pixel_size_A=4.0,
        inter_box_distance_A=30.0,
        optics=(OpticsSettings(snr=1.0), OpticsSettings(snr=0.5)),
        seed=1,
    )
    return simulate_particles("builtin", TRUTH, tmp_path_factory.mktemp("segments"), few)


def test_four_devices_find_what_one_finds(simulated: SimulatedParticles, tmp_path: Path) -> None:
    particles = prepare_particles(read_particles(simulated.files["star"]), SETTINGS)
    state = _start(particles, simulated.reference)
    np.savez(tmp_path / "transforms.npz", x=_transforms(particles))
    np.savez(tmp_path / "state.npz", **state_to_arrays(state))  # type: ignore[arg-type]
    flags = f"--xla_force_host_platform_device_count={N_DEVICES}"
    told = _run_apart("devices", simulated, tmp_path, XLA_FLAGS=flags)
    assert told["devices"] == N_DEVICES
    # No device had more than its part of the images, whatever was done with them.
    assert {call["kernel"] for call in told["calls"]} == {"score_grid", "refine_poses", "_residual", "backproject"}
    for call in told["calls"]:
        assert call["parts"] == N_DEVICES * [call["rows"] // N_DEVICES], call
    with np.load(tmp_path / "found.npz") as several:
        for name, one in _found(particles, state).items():
            difference = np.linalg.norm(several[name].astype(float) - one)
            assert difference <= 1e-4 * np.linalg.norm(one.astype(float)), name


@pytest.mark.skipif(sys.platform != "linux", reason="Linux limits and tells the address space of a process")
def test_memory_does_not_grow_with_the_stack(simulated: SimulatedParticles, tmp_path: Path) -> None:
    # The stack is four times what the process may take beside what it holds when all is compiled.
    told = _run_apart("memory", simulated, tmp_path)
    assert told["stack_bytes"] > 4 * told["limit_bytes"]
    assert told["is_in_file"]


def test_new_values_compile_nothing_new(simulated: SimulatedParticles) -> None:
    particles = prepare_particles(read_particles(simulated.files["star"]), SETTINGS)
    state = _start(particles, simulated.reference)
    compiled: list[str] = []
    # Heard from all threads.
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, _, **__: compiled.append(name) if name.endswith("backend_compile_duration") else None
    )
    step(particles, state, SETTINGS)
    assert compiled
    other = replace(
        state,
        estimate=SymmetryEstimate(HelicalSymmetry(-100.7, 5.2)),
        noise_power=0.99 * state.noise_power,
        references=tuple(half.with_data(1.01 * half.data) for half in state.references),
    )
    compiled.clear()
    step(particles, other, SETTINGS.replaced(twist_deg=-100.7, rise_A=5.2))
    assert not compiled


def _start(particles: PreparedParticles, reference: Volume) -> RefinementState:
    """A state whose references are the true map."""
    return replace(init(particles, SETTINGS, volume=reference), align_shell=16)


def _transforms(particles: PreparedParticles) -> np.ndarray:
    return particles.x.read(np.arange(len(particles)), len(particles.band.k))


def _found(particles: PreparedParticles, state: RefinementState) -> dict[str, np.ndarray]:
    """What an iteration makes of one and the same state.

    Poses climb in blocks of one size on any number of devices: between the kinks of an interpolated transform the
    last bit of a sum can send a pose to another of two near maxima.
    """
    with mock.patch.object(sys.modules["helixlab.kernels.refine_poses"], "_BLOCK", 8):
        state, info = step(particles, state, SETTINGS)
    assert state.poses is not None
    return {
        "half1": state.half_maps[0].data,
        "half2": state.half_maps[1].data,
        "noise": state.noise_power,
        "angles": state.poses.best.angles_deg,
        "shifts": state.poses.best.shift_px,
        "flips": state.poses.best.is_flipped,
        "posterior": info.log_posterior,
    }


# --- what runs in processes of its own ----------------------------------------------------------


def _run_apart(what: str, simulated: SimulatedParticles, folder: Path, **environment: str) -> dict[str, Any]:
    reference = folder / "reference.mrc"
    write_volume(reference, simulated.reference)
    command = [sys.executable, __file__, what, str(simulated.files["star"]), str(reference), str(folder)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _devices_apart(star: Path, reference: Volume, folder: Path) -> dict[str, Any]:
    """An iteration, and how the images lay that its kernels were given."""
    calls = []

    def watch(module: ModuleType, kernel: str, argument: int) -> None:
        plain = getattr(module, kernel)

        def watched(*args: Any, **kwargs: Any) -> Any:
            x = args[argument]
            parts = [shard.data.shape[0] for shard in x.addressable_shards]
            calls.append({"kernel": kernel, "rows": len(x), "parts": parts})
            return plain(*args, **kwargs)

        setattr(module, kernel, watched)

    watch(grid_search, "score_grid", 0)
    watch(expectation, "refine_poses", 1)
    watch(noise, "_residual", 2)  # the slices: made where their images lie
    watch(maximisation, "backproject", 1)
    particles = prepare_particles(read_particles(star), SETTINGS)
    x = np.load(folder / "transforms.npz")["x"]
    # Fourier transforms, a dozen roundings deep, and cubic interpolation.
    assert np.linalg.norm(_transforms(particles) - x) < 1e-5 * np.linalg.norm(x)
    with np.load(folder / "state.npz") as arrays:
        state = state_from_arrays(arrays)
    found = _found(replace(particles, x=MemoryBands(x)), state)
    np.savez(folder / "found.npz", **found)  # type: ignore[arg-type]
    return {"devices": len(jax.devices()), "calls": calls}


def _memory_apart(star: Path, reference: Volume, folder: Path) -> dict[str, Any]:
    """Images read and looked at in every way, in an address space with hardly more room than what is there."""
    import resource

    stack = read_particles(star)

    def work(n_images: int) -> PreparedParticles:
        # Rows name images of the stack again and again: each is read, transformed and kept as often.
        many = stack.select(np.arange(n_images) % len(stack))
        particles = prepare_particles(many, SETTINGS.replaced(batch_size=128), scratch_dir=folder)
        state = _start(particles, reference)
        poses = Poses(
            np.arange(n_images),
            np.zeros(n_images, bool),
            np.tile([0.0, 90.0, 0.0], (n_images, 1)),
            np.zeros((n_images, 2)),
            np.ones(n_images),
        )
        references = tuple(jnp.asarray(half.data) for half in state.references)
        noise.residual_power(particles, poses, references, state.noise_power)
        return particles

    work(256)
    taken_bytes = 1024 * int(re.search(r"VmSize:\s*(\d+)", Path("/proc/self/status").read_text()).group(1))
    limit_bytes = 48 << 20
    resource.setrlimit(resource.RLIMIT_AS, 2 * (taken_bytes + limit_bytes,))
    n_images = 4 * limit_bytes // (4 * BOX_PX**2) + 1
    particles = work(n_images)
    return {
        "stack_bytes": 4 * BOX_PX**2 * n_images,
        "limit_bytes": limit_bytes,
        "is_in_file": isinstance(particles.x, FileBands),
    }


if __name__ == "__main__":
    work = {"devices": _devices_apart, "memory": _memory_apart}[sys.argv[1]]
    sys.stdout.write(json.dumps(work(Path(sys.argv[2]), read_volume(sys.argv[3]), Path(sys.argv[4]))) + "\n")
