"""Settings, files, refusals and the command of the particle simulator; its physics is in tests/physics."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from helixlab import cli
from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.io import ParticleStack, read_particles, write_volume
from helixlab.io.images import ImageSource
from helixlab.simulate import OpticsSettings, ParticleSettings, SimulatedParticles, simulate_particles
from helixlab.simulate.filaments import Filament

SYMMETRY = HelicalSymmetry(60.0, 12.0)
SMALL = ParticleSettings(
    n_filaments=3, segments_per_filament=2, filaments_per_micrograph=1, box_px=32, pixel_size_A=4.0, outer_radius_A=40.0
)


def tube(length: int = 80) -> Volume:
    """A featureless filament of 40 Å radius."""
    r = np.hypot(*np.meshgrid(np.arange(32) - 16, np.arange(32) - 16))
    return Volume(np.tile((r < 9).astype(np.float32), (length, 1, 1)), 4.0)


def make(folder: Path, settings: ParticleSettings = SMALL, **options: object) -> SimulatedParticles:
    return simulate_particles(tube(), SYMMETRY, folder, settings, **options)


def images_of(made: SimulatedParticles) -> np.ndarray:
    stack = read_particles(made.files["star"])
    return ImageSource(stack).read_batch(np.arange(len(stack)))


def test_the_seed_decides(tmp_path: Path) -> None:
    first, again = make(tmp_path / "a"), make(tmp_path / "b")
    for name in ("images", "star", "cs", "truth_star"):
        assert first.files[name].read_bytes() == again.files[name].read_bytes(), name
    other = make(tmp_path / "c", SMALL.model_copy(update={"seed": 7}))
    assert not np.array_equal(images_of(other), images_of(first))


def test_background_is_normalised(tmp_path: Path) -> None:
    images = images_of(make(tmp_path, SMALL.model_copy(update={"psi_spread_deg": 0.0, "psi_prior_sd_deg": 0.0})))
    # The filament lies along x: rows beyond 40 Å and 4 pixels of the middle are background.
    background = images[:, np.abs(np.arange(32) - 16) > 15]
    assert np.abs(background.mean(axis=(1, 2))).max() < 0.5
    assert np.abs(images.std(axis=(1, 2)) - 1).max() < 0.5


def test_without_ctf_there_are_no_columns_and_with_it_micrographs_share_theirs(tmp_path: Path) -> None:
    without = make(tmp_path / "a", SMALL.model_copy(update={"defocus_range_A": None}))
    assert read_particles(without.files["star"]).defocus_u_A is None
    with_ctf = read_particles(
        make(tmp_path / "b", SMALL.model_copy(update={"filaments_per_micrograph": 2})).files["star"]
    )
    assert with_ctf.micrograph.tolist() == [0, 0, 0, 0, 1, 1]
    assert len(np.unique(with_ctf.defocus_u_A)) == 2
    assert (with_ctf.defocus_u_A >= with_ctf.defocus_v_A).all()
    assert with_ctf.optics.box_size_px.tolist() == [32]


def test_micrographs_take_optics_groups_in_turn(tmp_path: Path) -> None:
    optics = (OpticsSettings(), OpticsSettings(voltage_kV=200, amplitude_contrast=0.07))
    stack: ParticleStack = make(tmp_path, SMALL.model_copy(update={"optics": optics})).truth
    assert stack.optics_group.tolist() == [0, 0, 1, 1, 0, 0]
    assert stack.optics.voltage_kV.tolist() == [300.0, 200.0]
    assert stack.half_set.tolist() == [1, 1, 2, 2, 1, 1]


@pytest.mark.parametrize("bend", [0.0, 1e-9, 0.01, -0.02])
def test_curve_and_its_inverse(bend: float) -> None:
    filament = Filament(0, 0, 0, 200.0, bend, 84.0, 0.005, 0.0, False)
    u, v = np.meshgrid(np.linspace(-900, 900, 19), np.linspace(-80, 80, 5))
    x, y = filament.point_A(u.ravel(), v.ravel()).T
    back_u, back_v = filament.along_and_across_A(x, y)
    np.testing.assert_allclose(back_u, u.ravel(), atol=1e-6)
    np.testing.assert_allclose(back_v, v.ravel(), atol=1e-6)
    step = filament.axis_length_A(np.array([100.0, 101.0]))
    assert np.diff(step)[0] == pytest.approx(
        1 / np.sin(np.deg2rad(filament.tilt_deg_at(np.array([100.5]))[0])), rel=1e-8
    )


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"box_px": 24}, r"box_px: found 24; .* at least 31 pixels"),
        ({"outer_radius_A": None}, "outer_radius_A: a map does not say"),
        ({"outer_radius_A": 70.0}, r"box_px: found 32|outer_radius_A: found 70"),
        ({"pixel_size_A": 2.0}, "found 2 in the settings and 4 in the map"),
        ({"optics": (OpticsSettings(),) * 4}, "found 4 groups for 3 micrographs"),
        ({"segments_per_filament": 2000}, "segments_per_filament: found 2000, 49975 Å"),
        ({"tilt_sd_deg": 15.0, "tilt_bend_deg_per_um": 9e3}, "would lean by up to"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, update: dict[str, object], message: str) -> None:
    with pytest.raises(HelixLabError, match=message):
        make(tmp_path, SMALL.model_copy(update=update))
    assert not list(tmp_path.iterdir())


def test_other_refusals(tmp_path: Path) -> None:
    with pytest.raises(HelixLabError, match="a map is taken as it is"):
        make(tmp_path, resolution_A=10.0)
    with pytest.raises(HelixLabError, match=r"volume: found 80 Å along the axis; .* Give a longer map"):
        simulate_particles(tube(20), SYMMETRY, tmp_path, SMALL)
    make(tmp_path)
    with pytest.raises(HelixLabError, match=r"particles.mrcs: the file exists already"):
        make(tmp_path)
    make(tmp_path, overwrite=True)
    with pytest.raises(HelixLabError, match=r"defocus_range_A: found 3\.0 to 1\.0"):
        ParticleSettings(defocus_range_A=(3, 1))


def test_every_setting_has_a_label_and_help() -> None:
    for model in (ParticleSettings, OpticsSettings):
        for name, field in model.model_fields.items():
            assert field.title, name
            assert field.description, name
            unit = field.json_schema_extra["unit"]
            assert (unit is None) == (name.rsplit("_", 1)[-1] not in {"A", "deg", "um", "px", "kV", "mm", "A2"}), name


def test_command(tmp_path: Path) -> None:
    write_volume(tmp_path / "tube.mrc", tube())
    (tmp_path / "settings.json").write_text(json.dumps({"n_filaments": 9, "box_px": 32, "pixel_size_A": 4.0}))
    words = ["simulate-particles", str(tmp_path / "tube.mrc"), "--twist", "60", "--rise", "12", "--outer-radius", "40"]
    words += ["--settings", str(tmp_path / "settings.json"), "--set", "segments_per_filament=3"]
    words += ["--set", 'optics=[{"voltage_kV": 200}]', "--filaments", "2", "--out", str(tmp_path / "out"), "--json"]
    found = CliRunner().invoke(cli.app, [*words, "--snr", "0"])
    assert found.exit_code == 0, found.output
    said = json.loads(found.stdout)
    assert said["n_segments"] == 6
    assert said["settings"]["optics"][0]["voltage_kV"] == 200.0
    assert said["settings"]["optics"][0]["snr"] is None
    assert {Path(file).name for file in said["files"].values()} == {
        "particles.mrcs", "particles.star", "particles.cs", "map.mrc", "truth.star", "truth.json"
    }  # fmt: skip
    assert len(read_particles(said["files"]["cs"])) == 6
    for extra, message in (
        (["--set", "tilt_sd_deg"], "write NAME=VALUE"),
        (["--set", "tilt_sd_deg=99"], "tilt_sd_deg: found 99; it must be less than or equal to 15"),
        (["--set", "tilt_sd=1"], "tilt_sd: there is no such setting; did you mean tilt_sd_deg?"),
        (["--settings", str(tmp_path / "tube.mrc")], "tube.mrc: cannot be read as JSON"),
    ):
        failed = CliRunner().invoke(cli.app, [*words, *extra, "--overwrite"])
        assert failed.exit_code == 2
        assert message in json.loads(failed.stdout)["error"]
