"""Coverage-guided fuzzing of one target with Atheris: ``python -m tests.fuzz.run TARGET [SECONDS] [FOLDER]``.

References run in place of kernels, so that all of it is traced. Inputs that reach new code are kept in FOLDER (default:
``fuzz/TARGET``), an input that fails in ``crash-*``, both in the current folder. ``list`` instead of a target lists all.
Needs the extra ``fuzz``.
"""

import os
import sys
from pathlib import Path

os.environ["FARTHING_NO_JIT"] = "1"
CORPUS = Path(__file__).parent / "corpus"


def main():
    """Run until the time is over or something fails."""
    import atheris

    name, seconds, folder = (*sys.argv[1:], *("", "60", "")[len(sys.argv) - 1 :])
    with atheris.instrument_imports(include=["farthing"], enable_loader_override=False):
        from tests.fuzz.targets import TARGETS
    if name not in TARGETS:
        sys.exit("\n".join(TARGETS))
    target = TARGETS[name]
    found = Path(folder or f"fuzz/{name}")
    found.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (found / f"seed-{number}").write_bytes(seed)
    kept = CORPUS / name
    options = [
        f"-max_total_time={seconds}", f"-max_len={target.longest}", "-timeout=25", "-rss_limit_mb=2048",
        "-print_final_stats=1", "-use_value_profile=1",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], str(found), *([str(kept)] if kept.is_dir() else []), *options], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
