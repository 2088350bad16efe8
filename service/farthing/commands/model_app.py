"""What ``farthing model`` takes; :mod:`farthing.commands.model` and :mod:`farthing.commands.signing` do the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from farthing.commands.context import trusted_keys
from farthing.commands.parameters import AsJson, PublicKeys

model = App(
    name="model",
    help="Show a bundle, verify it on this machine, warm its kernels, bench its stages, sign it, or keygen: make keys.",
)


@model.command
def show(bundle: str, *, public_key: PublicKeys = (), as_json: AsJson = False) -> int:
    """Print what a bundle says about itself."""
    from farthing.commands import model as commands

    return commands.show(bundle, trusted_keys=trusted_keys(public_key), as_json=as_json)


@model.command
def verify(bundle: str, *, public_key: PublicKeys = (), as_json: AsJson = False) -> int:
    """Check signature, digests, golden vectors and batch invariance on this machine; exit 1 when a check fails."""
    from farthing.commands import model as commands

    return commands.verify(bundle, trusted_keys=trusted_keys(public_key), as_json=as_json)


@model.command
def warm(bundle: str, *, public_key: PublicKeys = (), as_json: AsJson = False) -> int:
    """Compile the kernels that a bundle needs, and keep them on disk (in NUMBA_CACHE_DIR, if that is set)."""
    from farthing.commands import model as commands

    return commands.warm(bundle, trusted_keys=trusted_keys(public_key), as_json=as_json)


@model.command
def bench(bundle: str, *, public_key: PublicKeys = (), as_json: AsJson = False) -> int:
    """Time each stage of scoring on one core."""
    from farthing.commands import model as commands

    return commands.bench(bundle, trusted_keys=trusted_keys(public_key), as_json=as_json)


@model.command
def keygen(
    name: Annotated[Path, Parameter(help="writes NAME.key.pem (keep it secret) and NAME.pub.pem")],
) -> int:
    """Make a pair of ed25519 keys for signing bundles (extra sign); existing files are left alone."""
    from farthing.commands.signing import make_keys

    return make_keys(name)


@model.command
def sign(
    bundle: Annotated[Path, Parameter(help="folder of a bundle")],
    *,
    key: Annotated[Path, Parameter(help="PEM file of an ed25519 private key")],
) -> int:
    """Check a bundle and sign its manifest, which has the digests of all its files (extra sign)."""
    from farthing.commands.signing import sign_bundle

    return sign_bundle(bundle, key)
