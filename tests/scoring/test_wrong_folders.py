"""Folders that are no bundle, or no longer a whole one: one sentence that says what is there and what to do."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from farthing.errors import BundleError
from farthing.model.shipped import find_bundle, shipped_bundles
from farthing.scoring.bundle import Bundle, _sums
from farthing.scoring.column_bundle import ColumnBundle, is_column_bundle
from farthing.scoring.manifest import DIGESTED, LARGEST, MANIFEST, MODEL, SUMS

SHIPPED = shipped_bundles()["moderation"]
COLUMNS = b"name = 'a'\ncolumns = ['x']\n"


@pytest.fixture
def bundle(tmp_path):
    return Path(shutil.copytree(SHIPPED, tmp_path / "bundle"))


def summed(folder):
    """Write sums that fit what is there, so that what is behind them is read."""
    (folder / SUMS).write_bytes(_sums({name: (folder / name).read_bytes() for name in DIGESTED}))


def test_a_folder_without_anything_of_a_bundle(tmp_path):
    with pytest.raises(BundleError, match=f"bundle {tmp_path}: the folder is empty; .* Give a bundle's folder"):
        Bundle.load(tmp_path)
    for name in "gfedcba":
        (tmp_path / name).touch()
    with pytest.raises(BundleError, match=r"holds a, b, c, d, e, \.\.\.; a bundle holds"):
        Bundle.load(tmp_path)


@pytest.mark.parametrize("name", [*DIGESTED, SUMS])
def test_a_file_that_is_missing_or_no_file(name, bundle):
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"cannot read {name}: No such file"):
        Bundle.load(bundle)
    (bundle / name).mkdir()
    with pytest.raises(BundleError, match=f"cannot read {name}: not a regular file"):
        Bundle.load(bundle)
    if hasattr(os, "mkfifo"):  # to read it would wait for ever
        (bundle / name).rmdir()
        os.mkfifo(bundle / name)
        with pytest.raises(BundleError, match=f"cannot read {name}: not a regular file"):
            Bundle.load(bundle)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (MANIFEST, b"", "manifest.json: not valid JSON"),
        (MANIFEST, b"{", "manifest.json: not valid JSON"),
        (MANIFEST, b"\xff\xfe", "manifest.json: not valid JSON"),
        (MANIFEST, b"[" * 100_000, "manifest.json: not valid JSON"),
        (MANIFEST, b"[]", "holds a list, expected an object"),
        (MODEL, b"", "model.onnx: manifest.json says SHA-256"),
    ],
)
def test_what_is_behind_the_sums(name, content, said, bundle):
    (bundle / name).write_bytes(content)
    summed(bundle)
    with pytest.raises(BundleError, match=said):
        Bundle.load(bundle)


@pytest.mark.parametrize("kind", ["file", "dangling", "loop", "empty", "zero byte", "long", "surrogate"])
def test_what_is_no_folder(kind, tmp_path):
    path = tmp_path / kind
    if kind == "file":
        path.touch()
    elif kind in ("dangling", "loop"):
        path.symlink_to("loop")
    named = {"empty": "", "zero byte": "a\0b", "long": "x" * 5000, "surrogate": "\udcff"}.get(kind, path)
    with pytest.raises(BundleError, match=r"no bundle .* Give the folder that holds"):
        find_bundle(named)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="this user may read anything")
def test_a_folder_that_cannot_be_read(bundle):
    bundle.chmod(0)
    try:
        assert not is_column_bundle(bundle)
        with pytest.raises(BundleError, match="the folder cannot be read"):
            Bundle.load(bundle)
    finally:
        bundle.chmod(0o700)


@pytest.mark.parametrize(
    ("manifest", "model", "said"),
    [
        (b"", b"x", "name: Field required"),
        (b"= 3", b"x", "not TOML"),
        (b"name = '\xff'", b"x", "not TOML"),
        (COLUMNS, None, "cannot read model.onnx: No such file"),
        (COLUMNS, b"junk", "not an ONNX model"),
    ],
)
def test_number_columns(manifest, model, said, tmp_path):
    (tmp_path / "manifest.toml").write_bytes(manifest)
    if model is not None:
        (tmp_path / "model.onnx").write_bytes(model)
    assert is_column_bundle(tmp_path)
    with pytest.raises(BundleError, match=said):
        ColumnBundle.load(tmp_path)


def test_a_manifest_that_is_a_link_to_nothing_is_named(tmp_path):
    (tmp_path / "manifest.toml").symlink_to("nowhere")
    assert is_column_bundle(tmp_path)
    with pytest.raises(BundleError, match=r"cannot read manifest\.toml: No such file"):
        ColumnBundle.load(tmp_path)


def test_a_file_beyond_the_limit_is_refused_unread(bundle, tmp_path, monkeypatch):
    monkeypatch.setitem(LARGEST, MODEL, 1000)
    (bundle / MODEL).write_bytes(bytes(1001))
    (tmp_path / "manifest.toml").write_bytes(COLUMNS)
    (tmp_path / "model.onnx").write_bytes(bytes(1001))
    for load, folder in ((Bundle.load, bundle), (ColumnBundle.load, tmp_path)):
        with pytest.raises(BundleError, match=r"has [\d,]+ bytes, at most 1,000 are allowed"):
            load(folder)
