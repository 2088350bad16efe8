"""``farthing model keygen | sign | verify``, and the commands that load a bundle, where it has to be signed."""

import json
import os
import stat
import subprocess
import sys

import pytest

from farthing.scoring import signature
from tests.bundle_factory import make_bundle
from tests.column_factory import write_column_bundle
from tests.inprocess import farthing
from tests.scoring.test_signature import COVERED


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Two pairs: ours and another's."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "other"):
        private, public = signature.new_key_pair()
        (folder / f"{name}.key.pem").write_bytes(private)
        (folder / f"{name}.pub.pem").write_bytes(public)
    return folder


@pytest.fixture
def unsigned(tmp_path):
    return write_column_bundle(tmp_path / "b", manifest=COVERED)


def test_keygen_sign_verify_score(tmp_path, keys):
    made = farthing("model", "keygen", tmp_path / "release")
    assert made.returncode == 0, made.stderr
    private, public = tmp_path / "release.key.pem", tmp_path / "release.pub.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    again = farthing("model", "keygen", tmp_path / "release")
    assert again.returncode == 2 and "is there already" in again.stderr

    folder = make_bundle(tmp_path / "b").path
    events = tmp_path / "events"
    events.write_text('{"id":1,"text":"hello"}\n')
    score = ("score", folder, events)
    assert farthing(*score, "--public-key", public).returncode == 3
    signed = farthing("model", "sign", folder, "--key", private)
    assert signed.returncode == 0 and "manifest.json.sig" in signed.stderr
    assert sorted(file.suffix for file in folder.iterdir()) == ["", ".json", ".md", ".npz", ".onnx", ".sig"]
    done = farthing("model", "verify", folder, "--public-key", public, "--json")
    assert json.loads(done.stdout)["signature"] == "checked" and "the signature is right" in done.stderr
    plain = farthing(*score)
    assert farthing(*score, "--public-key", public).stdout == plain.stdout != ""

    wrong = farthing("model", "verify", folder, "--public-key", keys / "other.pub.pem", "--json")
    assert wrong.returncode == 1 and "no signature of manifest.json" in json.loads(wrong.stdout)["error"]


@pytest.mark.parametrize("way", ["variable", "named file", "found file"])
def test_commands_without_the_flag_take_the_setting(way, unsigned, keys, tmp_path):
    names, environment = json.dumps([str(keys / "ours.pub.pem")]), {}
    if way == "variable":
        environment["FARTHING_MODEL__TRUSTED_KEYS"] = names
    else:
        file = tmp_path / ("other.toml" if way == "named file" else "farthing.toml")
        file.write_text(f"[model]\ntrusted_keys = {names}\n")
        if way == "named file":
            environment["FARTHING_CONFIG"] = str(file)
    for command in (("score", unsigned, os.devnull), ("model", "show", unsigned)):
        done = farthing(*command, cwd=tmp_path, **environment)
        assert done.returncode == 3 and "manifest.toml.sig" in done.stderr, command
        assert done.stderr.count("farthing: ") == 1 and "Traceback" not in done.stderr


def test_a_worker_refuses_what_is_not_signed(unsigned, keys, tmp_path):
    (tmp_path / "farthing.toml").write_text(
        f'[kafka]\nbootstrap_servers = ["127.0.0.1:1"]\n[http]\nport = 0\n[model]\ntrusted_keys = ["{keys}/ours.pub.pem"]\n'
        f'[[route]]\nbundle = "{unsigned}"\nsource = "a"\nsink = "b"\ndead_letters = "c"\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "farthing", "serve"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 3 and "manifest.toml.sig" in done.stderr and "Traceback" not in done.stderr


def test_a_manifest_without_the_model_s_digest_is_not_signed(tmp_path, keys):
    folder = write_column_bundle(tmp_path / "b")
    done = farthing("model", "sign", folder, "--key", keys / "ours.key.pem")
    assert done.returncode == 3 and COVERED.splitlines()[-1] in " ".join(done.stderr.split())
    assert not (folder / "manifest.toml.sig").exists()
