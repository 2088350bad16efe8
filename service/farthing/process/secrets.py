"""Secrets are in files, each read where it is needed and kept nowhere else."""

from __future__ import annotations

from pathlib import Path

from farthing.errors import ConfigError


def read_secret(path: Path, setting: str) -> str:
    """Read a secret file, without its final newline. Raises ConfigError, with the setting, when it holds no secret."""
    try:
        secret = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{setting} = {str(path)!r}: the file cannot be read ({error}); mount it or fix the path"
        ) from error
    if not secret:
        raise ConfigError(f"{setting} = {str(path)!r}: the file is empty; write the secret into it")
    return secret


class ChangingFiles:
    """Notices that files have changed, as a mounted secret does when it is renewed."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._seen: object = None

    def changed(self) -> bool:
        """Whether a file is another one than at the last call; True at the first. One that is missing is no change."""
        try:
            now = [(s.st_mtime_ns, s.st_ino, s.st_size) for s in map(Path.stat, self._paths)]
        except OSError:
            return self._seen is None
        changed, self._seen = now != self._seen, now
        return changed
