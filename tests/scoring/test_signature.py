"""Signed bundles: where keys are trusted, what is unsigned, changed or signed by others is refused, by every command."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from farthing import Scorer
from farthing.errors import BundleError, ConfigError
from farthing.model.shipped import shipped_bundles
from farthing.scoring import signature
from farthing.scoring.bundle import Bundle
from farthing.scoring.signature import TrustedKeys
from tests.bundle_factory import make_bundle, make_rerank_bundle
from tests.column_factory import MANIFEST, tree_model, write_column_bundle
from tests.scoring.test_bundle import reseal

COVERED = MANIFEST + f'sha256 = "{hashlib.sha256(tree_model().SerializeToString()).hexdigest()}"\n'
NO_PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes in folders")
KINDS = ("moderation", "rerank", "columns")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Two pairs: ours and another's."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "other"):
        private, public = signature.new_key_pair()
        (folder / f"{name}.key.pem").write_bytes(private)
        (folder / f"{name}.pub.pem").write_bytes(public)
    return folder


@pytest.fixture(scope="module")
def signed(tmp_path_factory, keys):
    """A bundle of each kind, signed with our key."""
    folder = tmp_path_factory.mktemp("signed")
    make_bundle(folder / "moderation")
    make_rerank_bundle(folder / "rerank")
    write_column_bundle(folder / "columns", manifest=COVERED)
    for kind in KINDS:
        manifest = folder / kind / ("manifest.toml" if kind == "columns" else "manifest.json")
        signed = signature.sign(manifest.read_bytes(), keys / "ours.key.pem")
        manifest.with_name(manifest.name + ".sig").write_bytes(signed)
    return folder


@pytest.fixture(params=KINDS)
def bundle(request, signed, tmp_path):
    return Path(shutil.copytree(signed / request.param, tmp_path / request.param))


def manifest_of(folder):
    return next(file for file in folder.iterdir() if file.name in ("manifest.json", "manifest.toml"))


def load(folder, *keys):
    return Scorer.load(folder, trusted_keys=keys, verify=False)


def test_a_signature_changes_nothing_but_who_is_believed(bundle, keys):
    signed, unsigned = load(bundle, keys / "other.pub.pem", keys / "ours.pub.pem"), load(bundle)
    assert signed.model_id == unsigned.model_id
    signed.verify()
    manifest_of(bundle).with_name(manifest_of(bundle).name + ".sig").unlink()
    assert load(bundle).model_id == unsigned.model_id


def test_the_shipped_bundles_are_not_signed_and_load(keys):
    for folder in shipped_bundles().values():
        Bundle.load(folder)
        with pytest.raises(BundleError, match=r"cannot read manifest\.json\.sig: No such file.*must be signed"):
            load(folder, keys / "ours.pub.pem")


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 4096])
def test_what_is_no_signature(bundle, keys, size):
    file = manifest_of(bundle).with_name(manifest_of(bundle).name + ".sig")
    file.write_bytes(bytes(size))
    with pytest.raises(BundleError, match=r"manifest\.(json|toml)\.sig"):
        load(bundle, keys / "ours.pub.pem")


def test_a_signature_of_another(bundle, keys):
    with pytest.raises(BundleError, match=rf"\.sig is no signature of manifest\..* by .*{keys}/other\.pub\.pem"):
        load(bundle, keys / "other.pub.pem")


def test_each_bit_of_the_signature_counts(signed, keys, tmp_path):
    folder = Path(shutil.copytree(signed / "columns", tmp_path / "b"))
    file = folder / "manifest.toml.sig"
    right = file.read_bytes()
    for place in range(0, 512, 7):
        wrong = bytearray(right)
        wrong[place // 8] ^= 1 << place % 8
        file.write_bytes(wrong)
        with pytest.raises(BundleError, match="is no signature of"):
            load(folder, keys / "ours.pub.pem")


def test_every_file_that_is_loaded_is_covered(bundle, keys):
    """With all digests made right again, as an attacker would: the signature of the manifest is what is wrong then."""
    for file in sorted(bundle.iterdir()):
        if file.suffix == ".sig":
            continue
        original = {path: path.read_bytes() for path in bundle.iterdir()}
        file.write_bytes(original[file] + b" ")
        with pytest.raises(BundleError) as refused:
            load(bundle, keys / "ours.pub.pem")
        assert file.name in str(refused.value)
        if (bundle / "SHA256SUMS").exists() and file.name not in ("SHA256SUMS", "features.npz"):
            reseal(bundle)
            with pytest.raises(BundleError, match=r"\.sig is no signature of"):
                load(bundle, keys / "ours.pub.pem")
        for path, content in original.items():
            path.write_bytes(content)
    load(bundle, keys / "ours.pub.pem")


def test_files_that_are_not_loaded_do_not_matter(bundle, keys):
    (bundle / "README.txt").write_text("x")
    (bundle / "more.onnx").write_bytes(b"x")
    assert load(bundle, keys / "ours.pub.pem").model_id


def test_a_second_manifest_beside_a_signed_one_is_not_believed(signed, keys, tmp_path):
    """A folder with manifest.toml is read as number columns: its own signature is asked for, not the other's."""
    folder = Path(shutil.copytree(signed / "moderation", tmp_path / "b"))
    write_column_bundle(folder, manifest=COVERED)
    with pytest.raises(BundleError, match=r"manifest\.toml\.sig"):
        load(folder, keys / "ours.pub.pem")
    (folder / "manifest.toml.sig").write_bytes((folder / "manifest.json.sig").read_bytes())
    with pytest.raises(BundleError, match=r"manifest\.toml\.sig is no signature"):
        load(folder, keys / "ours.pub.pem")


def test_a_manifest_without_the_model_s_digest_covers_nothing(tmp_path, keys):
    folder = write_column_bundle(tmp_path / "b")
    content = (folder / "manifest.toml").read_bytes()
    (folder / "manifest.toml.sig").write_bytes(signature.sign(content, keys / "ours.key.pem"))
    with pytest.raises(BundleError, match=r"manifest\.toml: has no sha256, so a signature of it does not cover churn"):
        load(folder, keys / "ours.pub.pem")


def test_what_was_checked_is_what_is_loaded(signed, keys, tmp_path, monkeypatch):
    """A folder that changes right after the check: the model that runs is the one that was signed."""
    folder = Path(shutil.copytree(signed / "moderation", tmp_path / "b"))
    other = make_bundle(tmp_path / "other", seed=9)
    check, event = TrustedKeys.check, b'{"id":1,"text":"you are great"}'

    def check_and_swap(self, manifest, content):
        check(self, manifest, content)
        for file in other.path.iterdir():
            shutil.copy(file, folder / file.name)

    monkeypatch.setattr(TrustedKeys, "check", check_and_swap)
    scorer = Scorer.load(folder, trusted_keys=[keys / "ours.pub.pem"])
    monkeypatch.undo()
    right = Scorer.load(signed / "moderation").score_events([event])
    assert scorer.score_events([event]).values == right.values
    with pytest.raises(BundleError, match="is no signature of"):  # and when it is verified again, it is noticed
        scorer.verify()


def test_a_bundle_that_is_built_again_is_not_signed(signed, tmp_path):
    folder = Path(shutil.copytree(signed / "moderation", tmp_path / "b"))
    make_bundle(folder, seed=3)
    assert not (folder / "manifest.json.sig").exists()


# ------------------------------------------------------------------------------------------------------------ the keys


def pem(key):
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"", "no public key in PEM"),
        (b"\xff" * 100, "no public key in PEM"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key in PEM"),
        (b"x" * 20_000, "at most 16,384 are allowed"),
        ("private", r"is a private key; name its public key \(openssl pkey"),
        ("rsa", "is no ed25519 key; `farthing model keygen`"),
        ("folder", "not a regular file"),
        pytest.param("pipe", "not a regular file", marks=NO_PIPES),
    ],
)
def test_what_is_no_public_key(content, said, tmp_path):
    file = tmp_path / "key.pem"
    if content == "private":
        file.write_bytes(signature.new_key_pair()[0])
    elif content == "rsa":
        key = rsa.generate_private_key(65537, 2048).public_key()
        file.write_bytes(key.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo))
    elif content == "folder":
        file.mkdir()
    elif content == "pipe":
        os.mkfifo(file)
    elif content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as refused:
        TrustedKeys.read([file])
    assert str(file) in str(refused.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"junk", "no private key in PEM"),
        ("public", "no private key in PEM"),
        ("rsa", "no ed25519 key"),
        ("encrypted", "is encrypted; decrypt it"),
    ],
)
def test_what_is_no_private_key(content, said, tmp_path):
    file = tmp_path / "key.pem"
    private, public = signature.new_key_pair()
    if content == "encrypted":
        key = form.load_pem_private_key(private, None)
        lock = form.BestAvailableEncryption(b"secret")
        file.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, lock))
    elif content is not None:
        made = {"public": public, "rsa": pem(rsa.generate_private_key(65537, 2048))}
        file.write_bytes(made.get(content, content))
    with pytest.raises(ConfigError, match=said):
        signature.sign(b"x", file)


def test_without_the_library_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for use in (
        lambda: TrustedKeys.read([tmp_path / "k"]),
        lambda: signature.sign(b"", tmp_path),
        signature.new_key_pair,
    ):
        with pytest.raises(ConfigError, match="need the library cryptography: install the extra sign"):
            use()
    assert not TrustedKeys.read([])  # and where no keys are given, nothing needs it


def test_loading_without_keys_does_not_import_the_library():
    code = (
        "import sys, farthing.scoring.bundle as b; b.Bundle.load(sys.argv[1]); assert 'cryptography' not in sys.modules"
    )
    folder = shipped_bundles()["bidding"]
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, timeout=60)


def test_openssl_makes_and_checks_the_same_signatures(signed, keys, tmp_path):
    """RFC 8032's first vector, and OpenSSL itself where it is installed."""
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    (tmp_path / "k.pem").write_bytes(pem(ed25519.Ed25519PrivateKey.from_private_bytes(secret)))
    assert base64.b64encode(signature.sign(b"", tmp_path / "k.pem")).startswith(b"5VZDAMNgrHKQhuLMgG6CioSHfx64")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    manifest = signed / "moderation" / "manifest.json"
    checked = subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", keys / "ours.pub.pem", "-in", manifest,
         "-sigfile", f"{manifest}.sig"], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Verified Successfully" in checked.stdout, checked.stderr
