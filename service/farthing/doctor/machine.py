"""Looks at this machine: instructions, kept kernels, threads against the quota, descriptors, folders."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from farthing.doctor.checks import Row, failed, ok, skipped, warning
from farthing.kernels.cache import cache_folders
from farthing.kernels.instruction import target_has
from farthing.process.failure import report_folders
from farthing.sections import Settings

INT8: Final = (
    ("avx512vnni", "AVX-512 VNNI"), ("avxvnni", "AVX VNNI"), ("i8mm", "Arm i8mm"), ("dotprod", "Arm dot product"),
)  # fmt: skip
SLOWER: Final = (("avx2", "AVX2"), ("sse4.2", "SSE 4.2"), ("neon", "Arm NEON"))
DESCRIPTORS: Final = 1_024
FREE_BYTES: Final = 64 << 20
CGROUP: Final = Path("/sys/fs/cgroup")


def machine(settings: Settings) -> list[Row]:
    """Check the machine for the workers that the settings start on it."""
    return [_instructions(), _kernels(), _threads(settings), _descriptors(), *_folders(settings)]


def _instructions() -> Row:
    check = "cpu"
    for names, note in ((INT8, "int8 products in one step"), (SLOWER, "int8 products in several steps, same scores")):
        found = [text for name, text in names if target_has(name)]
        if found:
            return ok(check, f"{found[0]}: {note}")
    return warning(
        check, "no vector instructions for int8 that we know", "expect few events a second: `farthing model bench`"
    )


def _kernels() -> Row:
    check = "kernel cache"
    folders = cache_folders()
    kept = sum(1 for folder in folders for _ in folder.glob("*.nbc")) if folders else 0
    writable = next((folder for folder in folders if may_write(folder)), None)
    if kept:
        place = "" if writable is not None else "; no folder can be written, so others are compiled at each start"
        return ok(check, f"{kept} compiled kernels are kept{place}")
    if writable is None:
        return warning(
            check, "no kernels are kept, and no folder can be written: each start compiles for up to a minute",
            "set NUMBA_CACHE_DIR to a folder that this user can write, or fill one with `farthing model warm`",
        )  # fmt: skip
    return warning(
        check,
        "no kernels are kept yet: the first start compiles for up to a minute",
        "run `farthing model warm BUNDLE`",
    )


def _threads(settings: Settings) -> Row:
    workers, threads = settings.worker.workers, settings.worker.threads
    quota = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, _quota())
    need = workers * threads
    found = f"{workers} x {threads} scoring threads on {quota:g} cores"
    if need > quota:
        return warning(
            "threads", f"{found}: they are throttled, and heartbeats come late",
            f"set worker.workers or worker.threads lower, or give {need} cores",
        )  # fmt: skip
    return ok("threads", found)


def _quota() -> float:
    """Return the cores that the control group allows; infinite without a limit."""
    try:
        most, period = (CGROUP / "cpu.max").read_text().split()
        return float(most) / float(period)
    except (OSError, ValueError):
        pass
    try:
        folder = CGROUP / "cpu"
        most_us = int((folder / "cpu.cfs_quota_us").read_text())
        return most_us / int((folder / "cpu.cfs_period_us").read_text()) if most_us > 0 else float("inf")
    except (OSError, ValueError):
        return float("inf")


def _descriptors() -> Row:
    try:
        import resource
    except ImportError:  # Windows
        return skipped("descriptors", "this system does not say")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS:
        return warning(
            "descriptors", f"at most {soft} open files and connections", f"raise it to {DESCRIPTORS}: ulimit -n"
        )
    return ok("descriptors", "no limit" if soft == resource.RLIM_INFINITY else f"at most {soft:,}")


def _folders(settings: Settings) -> Iterator[Row]:
    reports = list(report_folders())
    yield (
        ok("folder for error reports", str(next(folder for folder in reports if may_write(folder))))
        if any(map(may_write, reports))
        else warning(
            "folder for error reports",
            f"none of {', '.join(map(str, reports))} can be written",
            "set XDG_STATE_HOME or TMPDIR to a folder that can",
        )
    )
    ledger = settings.ledger
    ledgers, at_ledger = (failed, "") if ledger.store == "rocksdb" else (warning, ", where `farthing ledger` runs")
    named = (
        ("folder for temporary files", _temporary(), failed, "set TMPDIR to a folder that can"),
        ("ledger.data_dir", ledger.data_dir, ledgers, f"mount it so that this user may write{at_ledger}"),
    )
    for check, folder, found, mend in named:
        if folder is None or not may_write(folder):
            yield found(check, f"{folder or 'none'} cannot be written", mend)
        elif shutil.disk_usage(_there(folder)).free < FREE_BYTES:
            yield warning(check, f"{folder}: less than {FREE_BYTES >> 20} MiB are free", "make room")
        else:
            yield ok(check, str(folder))


def _temporary() -> Path | None:
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        return None


def may_write(folder: Path) -> bool:
    """Whether files could be written there, after making the folder where it is missing; makes nothing."""
    try:
        there = _there(folder)
        return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    except OSError:
        return False


def _there(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    at = folder.absolute()
    while not at.exists() and at != at.parent:
        at = at.parent
    return at
