"""Published filaments: what is listed, and how their files are found. Nothing leaves this machine."""

import http.server
import threading
from dataclasses import replace

import pytest
import requests

from helixlab import examples
from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HELIXLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HELIXLAB_DATA", raising=False)

    def refuse(*_, **__):
        raise requests.exceptions.ConnectionError("no network in tests")

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", refuse)
    return tmp_path / "cache"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server on this machine; its folder and its address."""
    monkeypatch.undo()  # the real downloader
    monkeypatch.setenv("HELIXLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HELIXLAB_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        monkeypatch.setattr(examples, "_MODEL_URL", f"http://127.0.0.1:{httpd.server_port}/{{pdb}}.cif.gz")
        yield folder
        httpd.shutdown()
        thread.join()


def test_published_symmetries():
    assert examples.get("TMV").symmetry == HelicalSymmetry(22.03, 1.408)
    assert examples.get("empiar-10019").symmetry == HelicalSymmetry(-30.6, 21.8, "C6")
    assert examples.get("6ufr").symmetry == HelicalSymmetry(-1.08, 4.85, "C2")
    assert examples.get("EMD-5922").symmetry.hand == -1
    with pytest.raises(HelixLabError, match="found no 'ribosome'; known are tmv, pf1"):
        examples.get("ribosome")
    with pytest.raises(HelixLabError, match="found no ''"):
        examples.get("")


@pytest.mark.parametrize("name", examples.names())
def test_every_example_is_complete(name):
    example = examples.get(name)
    assert example.title
    assert example.source
    assert (example.deposited is None) == ("wrong sign of the twist" not in example.note or name == "asyn")
    if example.deposited is not None:  # what they have in common: the sign
        assert example.deposited.hand == -example.symmetry.hand


def test_agrees_with_the_curated_table(data_dir):
    import csv

    with (data_dir / "truth" / "emdb_helical_curated.csv").open(encoding="utf-8") as stream:
        rows = {row["emdb_id"]: row for row in csv.DictReader(stream)}
    checked = 0
    for example in map(examples.get, examples.names()):
        row = rows.get(example.emdb)
        if row is None or row["validated"] != "Yes":
            continue
        deposited = HelicalSymmetry(
            float(row["twist_deposited (°)"]), float(row["rise_deposited (Å)"]), row["csym_deposited"]
        )
        validated = HelicalSymmetry(
            float(row["twist_validated (°)"]), float(row["rise_validated (Å)"]), row["csym_validated"]
        )
        # Published values are rounded to 0.1°, 0.1 Å at worst.
        assert (example.deposited or example.symmetry).is_equivalent(deposited, twist_tol_deg=0.05, rise_tol_A=0.05)
        assert example.symmetry.is_equivalent(validated, twist_tol_deg=0.05, rise_tol_A=0.05)
        checked += 1
    assert checked >= 8


def test_offline_message_says_what_to_do():
    with pytest.raises(HelixLabError, match=r"4UDV\.cif\.gz: cannot be downloaded .*HELIXLAB_DATA.*simulate builtin"):
        examples.get("tmv").model_path()
    with pytest.raises(HelixLabError, match=r"emd_2842\.map\.gz: cannot be downloaded"):
        examples.get("tmv").map_path()
    with pytest.raises(HelixLabError, match=r"microtubule: no model is known for it.*simulate builtin"):
        examples.get("microtubule").simulate()
    assert not list(examples.cache_folder().iterdir())  # no half-written file


def test_data_folder_comes_first(data_dir, monkeypatch):
    monkeypatch.setenv("HELIXLAB_DATA", str(data_dir))
    assert examples.get("tmv").model_path() == data_dir / "models" / "4udv.pdb"
    assert examples.get("asyn").map_path().parent == data_dir / "generated"
    made = examples.get("uperin").simulate(box=64, pixel_size_A=2.2, resolution_A=6.0, noise=1.0)
    assert made.symmetry == examples.get("uperin").symmetry
    assert made.half1 is not None


def test_hash_of_the_first_download_binds(server):
    (server / "4UDV.cif.gz").write_bytes(b"first")
    example = replace(examples.get("tmv"), local_models=())
    path = example.model_path()
    assert path.read_bytes() == b"first"
    assert example.model_path() == path  # from the cache, checked
    path.write_bytes(b"damaged")
    with pytest.raises(HelixLabError, match=r"SHA-256 is .* at the first download"):
        example.model_path()
    path.unlink()
    (server / "4UDV.cif.gz").write_bytes(b"revised")
    with pytest.raises(HelixLabError, match="The archive revised"):
        example.model_path()
    assert not path.exists()
    path.with_name(path.name + ".sha256").unlink()
    assert example.model_path().read_bytes() == b"revised"


def test_missing_on_the_server(server):
    with pytest.raises(HelixLabError, match=r"cannot be downloaded \(404"):
        replace(examples.get("tmv"), local_models=()).model_path()
    assert server.is_dir()
