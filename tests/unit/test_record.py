"""What is written to disk: read back by other programs' eyes (json, csv, numpy, PNG headers), whole or not at all."""

import csv
import json
import struct

import numpy as np
import pytest

from helixlab import record
from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.io import read_star_table
from helixlab.validate.fsc import compute_fsc


def candidate(**changed):
    return {
        "twist_deg": -101.1,
        "rise_A": 5.13,
        "point_group": "C1",
        "score": 0.97,
        "mse": 0.031,
        "twist_se_deg": 0.002,
        "rise_se_A": None,
        "pitch_A": 18.267,
        "subunits_per_turn": 3.5608,
        "hand": -1,
        "equivalents": [],
    } | changed


def png_size(path):
    start = path.read_bytes()[:24]
    assert start[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", start[16:24])


# --- JSON -------------------------------------------------------------------------------------------


def test_json_is_standard_and_keeps_every_digit(tmp_path):
    value = {
        "infinite": float("inf"),
        "unknown": np.float32("nan"),
        "angle": np.float64(0.1) + 0.2,
        "shape": np.array([3, 4]),
        "flag": np.bool_(True),
        "file": tmp_path,
        "unit": "Å",
    }
    record.write_json(tmp_path / "a.json", value)

    def refuse(name):
        raise AssertionError(name)

    found = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert found == {
        "infinite": None,
        "unknown": None,
        "angle": 0.1 + 0.2,
        "shape": [3, 4],
        "flag": True,
        "file": str(tmp_path),
        "unit": "Å",
    }


def test_json_for_narrow_streams_is_the_same_value():
    assert record.json_text({"unit": "Å"}, ascii_only=True).isascii()
    assert json.loads(record.json_text({"unit": "Å"}, ascii_only=True)) == {"unit": "Å"}


def test_what_json_cannot_hold_is_refused_and_leaves_no_file(tmp_path):
    with pytest.raises(HelixLabError, match="found a complex"):
        record.write_json(tmp_path / "a.json", {"z": 1j})
    assert list(tmp_path.iterdir()) == []


# --- candidates -------------------------------------------------------------------------------------


def test_candidates_csv_reads_back(tmp_path):
    record.write_candidates_csv(tmp_path / "c.csv", [candidate(), candidate(twist_deg=1 / 3)])
    with (tmp_path / "c.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert float(rows[1]["twist_deg"]) == 1 / 3
    assert rows[0]["rise_se_A"] == ""
    assert rows[0]["point_group"] == "C1"


def test_candidates_cs_is_an_unpickled_structured_array(tmp_path):
    record.write_candidates_cs(tmp_path / "c.cs", [candidate(), candidate(point_group="D12", pitch_A=None)])
    with (tmp_path / "c.cs").open("rb") as file:
        table = np.load(file, allow_pickle=False)
    assert table.dtype.names[:4] == ("uid", "rank", "twist_deg", "rise_A")
    assert len(set(table["uid"])) == 2
    assert table["twist_deg"][0] == -101.1
    assert table["point_group"].tolist() == [b"C1", b"D12"]
    assert np.isnan(table["rise_se_A"][0])
    assert np.isnan(table["pitch_A"][1])


def test_no_candidate_gives_an_empty_table(tmp_path):
    record.write_candidates_cs(tmp_path / "c.cs", [])
    record.write_candidates_csv(tmp_path / "c.csv", [])
    with (tmp_path / "c.cs").open("rb") as file:
        assert len(np.load(file, allow_pickle=False)) == 0
    assert len((tmp_path / "c.csv").read_text().splitlines()) == 1


def test_a_candidate_without_a_column_is_named(tmp_path):
    incomplete = candidate()
    del incomplete["mse"]
    with pytest.raises(HelixLabError, match="candidate 1: found no mse"):
        record.write_candidates_csv(tmp_path / "c.csv", [incomplete])


# --- FSC --------------------------------------------------------------------------------------------


def test_fsc_table_and_figure(tmp_path):
    rng = np.random.default_rng(0)
    halves = [Volume(rng.normal(size=(16, 16, 16)) + 3, 2.0) for _ in range(2)]
    result = compute_fsc(*halves)
    record.write_fsc_csv(tmp_path / "fsc.csv", result)
    record.write_fsc_png(tmp_path / "fsc.png", result.curves)
    with (tmp_path / "fsc.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["freq_per_A", "resolution_A", "fsc_unmasked", "fsc_spherical"]
    assert rows[0]["resolution_A"] == ""
    assert float(rows[-1]["resolution_A"]) == 4.0
    assert [float(row["fsc_unmasked"]) for row in rows] == result.curve("unmasked").fsc.tolist()
    assert min(png_size(tmp_path / "fsc.png")) > 300


# --- landscapes -------------------------------------------------------------------------------------


def test_landscape_figure(tmp_path):
    twist, rise = np.linspace(-180, 180, 91), np.linspace(1, 60, 60)
    score = np.random.default_rng(0).uniform(size=(91, 60))
    score[:5] = np.nan
    record.write_landscape_png(tmp_path / "l.png", twist, rise, score, marked=[(22.0, 5.0), (999.0, 5.0)])
    assert min(png_size(tmp_path / "l.png")) > 300


def test_a_sharp_peak_of_a_fine_grid_is_still_drawn():
    score = np.zeros((7001, 130))
    score[4321, 77] = 1.0
    score[100:200] = np.nan
    drawn = record._best_of_blocks(score)
    assert drawn.shape == (1200, 130)
    assert np.nanmax(drawn) == 1.0
    t, r = np.unravel_index(np.nanargmax(drawn), drawn.shape)
    assert t / 1200 == pytest.approx(4321 / 7001, abs=1 / 1200)
    assert r == 77


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1)])
def test_a_landscape_of_one_line_is_drawn(tmp_path, shape):
    axes = [np.arange(1.0, n + 1) for n in shape]
    record.write_landscape_png(tmp_path / "l.png", *axes, np.ones(shape))
    assert png_size(tmp_path / "l.png")


def test_an_empty_landscape_is_refused(tmp_path):
    with pytest.raises(HelixLabError, match="nothing to draw"):
        record.write_landscape_png(tmp_path / "l.png", np.zeros(0), np.zeros(0), np.zeros((0, 0)))


# --- nothing is overwritten, nothing is left half written -------------------------------------------


def test_existing_files_are_kept_unless_asked(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text("mine")
    with pytest.raises(HelixLabError, match="exists already"):
        record.write_json(path, {})
    assert path.read_text() == "mine"
    record.write_json(path, {}, overwrite=True)
    assert json.loads(path.read_text()) == {}


def test_a_failed_figure_leaves_nothing_behind(tmp_path):
    with pytest.raises(HelixLabError, match=r"ends in \.png"):
        record.write_landscape_png(tmp_path / "l.jpg", np.arange(2.0), np.arange(2.0), np.ones((2, 2)))
    assert list(tmp_path.iterdir()) == []


def test_symmetry_star_reads_back(tmp_path):
    volume = Volume(np.zeros((4, 4, 6), np.float32), 1.5)
    path = tmp_path / "symmetry.star"
    record.write_symmetry_star(path, HelicalSymmetry(22.03, 1.408, "C2"), volume, map_name="my map.mrc")
    classes, optics = read_star_table(path, "model_classes"), read_star_table(path, "optics")
    assert (classes["rlnHelicalTwist"][0], classes["rlnHelicalRise"][0]) == (22.03, 1.408)
    assert (classes["rlnReferenceImage"][0], classes["helixlabPointGroup"][0]) == ("my map.mrc", "C2")
    assert (optics["rlnImagePixelSize"][0], optics["rlnImageSize"][0]) == (1.5, 6)
    with pytest.raises(HelixLabError, match=r"symmetry\.star"):
        record.write_symmetry_star(path, HelicalSymmetry(22.03, 1.408), volume, map_name="my map.mrc")
