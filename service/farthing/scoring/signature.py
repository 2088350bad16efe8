"""Signatures of bundles: ed25519, over the bytes of the manifest, in a file beside it (``manifest.json.sig``).

The manifest has the SHA-256 of every other file that is loaded, and all of them are loaded from the bytes that were
checked. So a signature covers the whole bundle, whatever happens to the folder meanwhile. It holds 64 bytes, as OpenSSL
writes them::

    openssl pkeyutl -verify -rawin -pubin -inkey KEY.pub.pem -in manifest.json -sigfile manifest.json.sig

Keys are PEM files (PKCS #8, SubjectPublicKeyInfo). Only this module needs the library cryptography (extra ``sign``),
and only where keys are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from farthing.bundle_files import read_file
from farthing.errors import BundleError, ConfigError, extra

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SUFFIX: Final = ".sig"
SIGNATURE_BYTES: Final = 64
_LARGEST_KEY: Final = 1 << 14  # bytes of a PEM file


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Public keys by file; a bundle must be signed with one of them, unless there are none."""

    keys: tuple[tuple[str, Ed25519PublicKey], ...] = ()

    @classmethod
    def read(cls, files: Sequence[str | Path]) -> TrustedKeys:
        """Read public keys.

        Raises
        ------
        ConfigError
            A file cannot be read or holds something else, or the library cryptography is not installed.
        """
        return cls(tuple((str(file), _public_key(Path(file))) for file in files))

    def __bool__(self) -> bool:
        """Whether signatures are required."""
        return bool(self.keys)

    def check(self, manifest: Path, content: bytes) -> None:
        """Check the signature of a manifest with this content, if signatures are required.

        Raises
        ------
        BundleError
            There is no signature, or none of the keys made it.
        """
        if not self.keys:
            return
        from cryptography.exceptions import InvalidSignature

        file, names = manifest.with_name(manifest.name + SUFFIX), ", ".join(name for name, _ in self.keys)
        signature = read_file(
            file,
            f"the bundle must be signed with the private key that belongs to {names}. Sign it (`farthing model sign`), "
            "or get the signed one",
            at_most=SIGNATURE_BYTES,
        )
        for _, key in self.keys:
            try:
                key.verify(signature, content)
                return
            except InvalidSignature:
                continue
        raise BundleError(
            f"bundle {manifest.parent}: {file.name} is no signature of {manifest.name} by {names}: the bundle was "
            "changed, or signed with another key. Get the bundle again from who signed it"
        )


NO_KEYS: Final = TrustedKeys()


def sign(content: bytes, key: Path) -> bytes:
    """Sign a manifest with the private key in a PEM file.

    Raises
    ------
    ConfigError
        The file cannot be read or holds something else, or the library cryptography is not installed.
    """
    return _private_key(key).sign(content)


def new_key_pair() -> tuple[bytes, bytes]:
    """Make a private key and its public key, both as PEM.

    Raises
    ------
    ConfigError
        The library cryptography is not installed.
    """
    _require()
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    return private, public


def _require() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"signatures of bundles need the library cryptography: {extra('sign')}") from error


def _pem(file: Path) -> bytes:
    _require()
    try:
        data = read_file(file, "name the PEM file of an ed25519 key", at_most=_LARGEST_KEY, inside=False)
    except BundleError as error:
        said = getattr(error.__cause__, "strerror", None) or error.__cause__
        raise ConfigError(f"key {file}: {said}; name the PEM file of an ed25519 key") from error
    return data


def _public_key(file: Path) -> Ed25519PublicKey:
    data = _pem(file)
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = form.load_pem_public_key(data)
    except Exception as error:  # ValueError, UnsupportedAlgorithm and more, by what is wrong
        private = "a private key" if b"PRIVATE KEY-----" in data else "no public key in PEM"
        raise ConfigError(
            f"key {file}: is {private}; name its public key (openssl pkey -in {file} -pubout gives it)"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"key {file}: is no ed25519 key; `farthing model keygen` makes one")
    return key


def _private_key(file: Path) -> Ed25519PrivateKey:
    data = _pem(file)
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = form.load_pem_private_key(data, password=None)
    except TypeError as error:  # a password would be needed
        raise ConfigError(
            f"key {file}: is encrypted; decrypt it for the time of signing (openssl pkey -in {file} -out ...)"
        ) from error
    except Exception as error:  # ValueError, UnsupportedAlgorithm and more, by what is wrong
        raise ConfigError(f"key {file}: is no private key in PEM; `farthing model keygen` makes one") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"key {file}: is no ed25519 key; `farthing model keygen` makes one")
    return key
