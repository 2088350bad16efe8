"""``farthing model keygen | sign``: keys for signing bundles, and signatures beside manifests."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console

from farthing.errors import BundleError, ConfigError
from farthing.model.scorer import Scorer
from farthing.model.shipped import find_bundle
from farthing.process.first_start import starting
from farthing.process.output import writing
from farthing.scoring.bundle import Bundle
from farthing.scoring.column_bundle import COLUMN_MANIFEST, ColumnBundle, is_column_bundle
from farthing.scoring.manifest import MANIFEST
from farthing.scoring.signature import SUFFIX, new_key_pair, sign

_SECRET, _PUBLIC = 0o600, 0o644
_BINARY = getattr(os, "O_BINARY", 0)  # on Windows, where line ends would be rewritten


def make_keys(name: Path) -> int:
    """Write a new pair of keys beside each other."""
    private, public = new_key_pair()
    files = (name.with_name(name.name + ".key.pem"), name.with_name(name.name + ".pub.pem"))
    for file in files:
        if os.path.lexists(file):
            raise ConfigError(f"{file} is there already, and a lost key is lost: give another name, or move it away")
    for file, content, mode in zip(files, (private, public), (_SECRET, _PUBLIC), strict=True):
        with writing(str(file)):
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, mode)
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(content)
    Console(stderr=True, markup=False, emoji=False).print(
        f"{files[0]} signs bundles: keep it secret. {files[1]} checks them: give it to those who load them",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
    return 0


def sign_bundle(bundle: Path, key: Path) -> int:
    """Write a signature of what was just checked: the manifest's bytes are signed as they were loaded, not read again.

    Raises
    ------
    BundleError
        The bundle fails a check, or its manifest does not cover its model.
    """
    folder, console = find_bundle(bundle), Console(stderr=True, markup=False, emoji=False)
    with starting(console, f"checking {bundle}"):
        model_id = Scorer.load(folder).model_id
    if is_column_bundle(folder):
        columns = ColumnBundle.load(folder)
        name, content, loaded = COLUMN_MANIFEST, columns.manifest_bytes, columns.model_id
        columns.check_covered()
    else:
        whole = Bundle.load(folder)
        name, content, loaded = MANIFEST, whole.manifest_bytes, whole.model_id
    if loaded != model_id:
        raise BundleError(f"bundle {folder}: was {model_id} and is {loaded} now; sign it when nobody changes it")
    signature, target = sign(content, key), folder / (name + SUFFIX)
    part = target.with_name(target.name + ".part")
    with writing(str(target)):
        part.write_bytes(signature)
        part.replace(target)
    console.print(f"{model_id}: signed, in {target}", highlight=False, markup=False, soft_wrap=True)
    return 0
