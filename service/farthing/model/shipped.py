"""Finds bundles: a folder of the user's, or one of those shipped with Farthing.

Shipped bundles are in ``models/bundles`` of a checkout (an editable install) and in ``farthing/_bundles`` of a wheel.
"""

from __future__ import annotations

from pathlib import Path

from farthing.errors import BundleError

_MANIFEST = "manifest.json"
_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_bundles() -> dict[str, Path]:
    """Name the bundles that came with Farthing, and their folders."""
    return {file.parent.name: file.parent for file in sorted(_home().glob(f"*/{_MANIFEST}"))}


def _home() -> Path:
    """Return the folder of the shipped bundles, and not one called ``models`` that happens to be beside the package."""
    checkout = _PACKAGE.parents[1]
    if _PACKAGE.parent.name == "service" and (checkout / "pyproject.toml").is_file():
        return checkout / "models" / "bundles"
    return _PACKAGE / "_bundles"


def find_bundle(path_or_name: str | Path) -> Path:
    """Find a bundle's folder.

    Parameters
    ----------
    path_or_name:
        A folder, or the name of a shipped bundle such as ``"moderation"``. A folder that exists comes first.

    Raises
    ------
    BundleError
        There is none; the message lists the shipped ones.
    """
    folder = Path(path_or_name)
    shipped = shipped_bundles()
    try:
        if str(path_or_name) and folder.is_dir():
            return folder
    except (OSError, ValueError):  # no file can have such a name
        pass
    if str(path_or_name) in shipped:
        return shipped[str(path_or_name)]
    raise BundleError(
        f"no bundle {str(path_or_name)!r}: not a folder (looked for {folder.absolute()}) and not one of the shipped "
        f"bundles ({', '.join(sorted(shipped)) or 'none'}). Give the folder that holds {_MANIFEST}"
    )
