"""What is shipped: the wheel works away from the checkout, no platform needs a compiler, the pins are whole."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import farthing
from farthing.kernels import cache as kernel_cache
from farthing.model import shipped as bundles

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = ROOT / "deploy" / "requirements.txt"
TIMEOUT_S = 300
RESOLVE_TIMEOUT_S = 1_200  # asks an index for hundreds of packages: minutes where it is slow or the machine is busy

# uv's name of the platform, sys_platform, platform_machine, os_name, platform_system
PLATFORMS = {
    "x86_64-manylinux_2_28": ("linux", "x86_64", "posix", "Linux"),
    "aarch64-manylinux_2_28": ("linux", "aarch64", "posix", "Linux"),
    "aarch64-apple-darwin": ("darwin", "arm64", "posix", "Darwin"),
    "x86_64-apple-darwin": ("darwin", "x86_64", "posix", "Darwin"),
    "x86_64-pc-windows-msvc": ("win32", "AMD64", "nt", "Windows"),
}
PYTHONS = ("3.11", "3.12", "3.13")


def run(*command, timeout_s=TIMEOUT_S, **options):
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=timeout_s, check=False, **options
    )


def elsewhere(tmp_path, **more):
    """An environment that knows the folder of the checkout from nowhere, with the kernels that are compiled already."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FARTHING_", "PYTHON"))}
    cache = tmp_path / "cache" / f"farthing-{farthing.__version__}"
    cache.mkdir(parents=True)
    folder = kernel_cache.writable_folder()
    for file in folder.glob("*.nbc") if folder is not None else ():
        shutil.copy(file, cache)
    return {**kept, "NUMBA_CACHE_DIR": str(cache.parent), **more}


# ---------------------------------------------------------------------------------------------------------- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built as pip builds it; hatchling comes from the extra ``test``, so no network is needed."""
    folder = tmp_path_factory.mktemp("wheel")
    done = run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        folder,
        ROOT,
    )
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel alone in a folder."""
    folder = tmp_path_factory.mktemp("installed")
    done = run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--no-compile",
        "--target",
        folder,
        wheel,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_wheel_holds_the_package_its_types_and_its_bundles_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.name == f"farthing-{farthing.__version__}-py3-none-any.whl"
    package = {path.relative_to(ROOT / "service").as_posix() for path in (ROOT / "service" / "farthing").rglob("*.py")}
    assert package | {"farthing/py.typed"} <= set(names)
    for bundle in (path.parent for path in (ROOT / "models" / "bundles").glob("*/manifest.json")):
        files = {f"farthing/_bundles/{bundle.name}/{path.name}" for path in bundle.iterdir()}
        assert len(files) in (5, 6)  # rerank knows of words: features.npz
        assert files <= set(names)
    others = [
        name for name in names if not name.startswith(("farthing/", f"farthing-{farthing.__version__}.dist-info/"))
    ]
    assert others == []
    assert [name for name in names if "__pycache__" in name or name.endswith((".nbc", ".nbi", ".pyc"))] == []


def test_the_source_distribution_builds_the_same_wheel(wheel, tmp_path):
    done = run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    done = run(
        sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", tmp_path,
        archive,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (again,) = tmp_path.glob("*.whl")
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


def test_the_installed_wheel_scores_away_from_the_checkout(installed, tmp_path):
    environment = elsewhere(tmp_path, PYTHONPATH=str(installed))
    where = run(
        sys.executable, "-c", "import farthing.model.shipped as b; print(b.__file__, b.find_bundle('moderation'))",
        cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert where.stdout.split() == [
        str(installed / "farthing" / "model" / "shipped.py"), str(installed / "farthing" / "_bundles" / "moderation"),
    ]  # fmt: skip
    done = run(
        sys.executable, installed / "bin" / "farthing", "score", "moderation",
        cwd=tmp_path, env=environment, input='{"id":1,"text":"have a nice day"}\n',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r'\{"id":1,"score":0\.\d+,.*"model":"moderation@[0-9a-f]{8}"\}\n', done.stdout)


def test_a_checkout_has_its_bundles_in_models():
    assert bundles.find_bundle("moderation") == ROOT / "models" / "bundles" / "moderation"


def test_a_folder_of_models_beside_an_installation_is_not_taken_for_a_checkouts(installed, tmp_path):
    home = tmp_path / "lib" / "packages"
    shutil.copytree(installed, home)
    shutil.copytree(ROOT / "models" / "bundles", tmp_path / "models" / "bundles")
    found = run(
        sys.executable, "-c", "from farthing.model.shipped import find_bundle; print(find_bundle('moderation'))",
        cwd=home.parent, env=elsewhere(tmp_path, PYTHONPATH=str(home)),
    )  # fmt: skip
    assert found.stdout.strip() == str(home / "farthing" / "_bundles" / "moderation")


# ----------------------------------------------------------------------------------------------------------- the pins


def pins():
    """Requirement and hashes of each pin."""
    for line in PINS.read_text().replace("\\\n", " ").splitlines():
        if line and not line.startswith("#"):
            requirement, *hashes = line.split("--hash=")
            yield Requirement(requirement), [h.strip() for h in hashes]


def environment_of(platform, python):
    """What markers read there."""
    system, machine, name, long_name = PLATFORMS[platform]
    return {
        "sys_platform": system, "platform_machine": machine, "os_name": name, "platform_system": long_name,
        "python_version": python, "python_full_version": f"{python}.1", "implementation_name": "cpython",
        "platform_python_implementation": "CPython", "extra": "",
    }  # fmt: skip


def applying(requirements, environment=None):
    """Those whose marker holds."""
    return [r for r in requirements if r.marker is None or r.marker.evaluate(environment or {"extra": ""})]


def test_pins_are_exact_hashed_and_name_no_place():
    text = PINS.read_text()
    assert not re.search(r"://|@|^\s*-(?!-hash=sha256:)|\b[a-z0-9-]+\.(org|com|io|net)\b", text, re.M)
    found = list(pins())
    assert len(found) > 40
    for requirement, hashes in found:
        (exact,) = requirement.specifier
        assert exact.operator == "=="
        assert not requirement.extras
        assert requirement.url is None
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_each_platform_has_one_pin_for_each_requirement_in_its_range(platform, python):
    environment = environment_of(platform, python)
    here = applying((requirement for requirement, _ in pins()), environment)
    pinned = {canonicalize_name(r.name): Version(next(iter(r.specifier)).version) for r in here}
    assert len(pinned) == len(here)
    for wanted in applying(map(Requirement, PROJECT["dependencies"]), environment):
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), wanted


def test_pins_are_closed_under_what_the_installed_packages_ask_for():
    """Every requirement of a requirement is pinned too, as far as this environment's packages tell; and no others."""
    here = applying(requirement for requirement, _ in pins())
    pinned = {canonicalize_name(r.name): next(iter(r.specifier)).version for r in here}
    reached, ahead = set(), [(r, "") for r in map(Requirement, PROJECT["dependencies"])]
    while ahead:
        wanted, extra = ahead.pop()
        name = canonicalize_name(wanted.name)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        assert name in pinned, f"{wanted} is not pinned: run deploy/pin.py"
        if importlib.metadata.version(name) == pinned[name]:  # else its requirements may be others
            assert wanted.specifier.contains(pinned[name], prereleases=True), wanted
        if (name, extra) in reached:
            continue
        reached.add((name, extra))
        for line in importlib.metadata.requires(name) or ():
            ahead += [(Requirement(line), one) for one in ("", *wanted.extras)]
    assert {name for name, _ in reached} == set(pinned)


# --------------------------------------------------------------------------------------------------- with the network


@pytest.fixture(scope="module")
def uv(tmp_path_factory):
    """The command ``uv``, which resolves for other platforms than this one; needs a package index."""
    folder = tmp_path_factory.mktemp("uv")
    environment = {**os.environ, "UV_CACHE_DIR": str(folder / "cache"), "MACOSX_DEPLOYMENT_TARGET": "14.0"}

    def call(*arguments, **options):
        return run(
            sys.executable, "-m", "uv", *arguments, cwd=folder, env=environment, timeout_s=RESOLVE_TIMEOUT_S, **options
        )  # fmt: skip

    probe = call("pip", "compile", "-q", "-", input="numpy\n")
    if probe.returncode:
        pytest.skip(f"no package index can be reached: {probe.stderr.strip()[:200]}")
    return call


def without_compiler(uv, platform, python, *extras):
    """The newest versions that are allowed have wheels there: what is resolved with sources can be had without them.

    An index may show a new release to one request and not to the next, so the second resolution gets the versions of
    the first, and sees of the index what that left in the cache.
    """
    there = ("-q", "--no-header", "--no-annotate", "--python-platform", platform, "--python-version", python)
    chosen = uv("pip", "compile", ROOT / "pyproject.toml", *(f"--extra={extra}" for extra in extras), *there)
    assert chosen.returncode == 0, chosen.stderr
    assert len(chosen.stdout.splitlines()) > 40
    wheels = uv("pip", "compile", "-", "--no-deps", "--only-binary", ":all:", "--offline", *there, input=chosen.stdout)
    assert wheels.returncode == 0, wheels.stderr
    assert wheels.stdout == chosen.stdout


@pytest.mark.parametrize(
    ("platform", "python"), [("aarch64-manylinux_2_28", "3.13"), ("x86_64-pc-windows-msvc", "3.11")]
)
def test_no_compiler_is_needed(uv, platform, python):
    without_compiler(uv, platform, python)


def test_a_version_without_a_wheel_is_found(uv):
    """The resolution that the tests above rest on does refuse a source."""
    there = ("-q", "--python-platform", "x86_64-manylinux_2_28", "--python-version", "3.12")
    done = uv("pip", "compile", "-", "--no-deps", "--only-binary", ":all:", *there, input="docopt==0.6.2\n")
    assert done.returncode != 0 and "docopt" in done.stderr


@pytest.mark.campaign
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_no_compiler_is_needed_anywhere(uv, platform, python):
    without_compiler(uv, platform, python)
    without_compiler(uv, platform, python, "demo", "test", "loadtest", "tokens")


def test_the_pins_can_be_installed_by_their_hashes(uv, tmp_path):
    done = uv(
        "pip", "install", "--dry-run", "--require-hashes", "--no-deps", "--only-binary", ":all:", "--python",
        sys.executable, "--target", tmp_path / "target", "-r", PINS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    here = applying(requirement for requirement, _ in pins())
    assert f"Would install {len(here)} packages" in done.stderr


def test_the_pins_are_what_the_project_asks_for_now(uv, tmp_path):
    """Resolved again with the pins as preferences, nothing changes."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "pin.py", tmp_path / "deploy")
    shutil.copy(PINS, tmp_path / "deploy")
    done = run(sys.executable, tmp_path / "deploy" / "pin.py", "--keep")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "deploy" / "requirements.txt").read_text() == PINS.read_text(), "run deploy/pin.py --keep"


@pytest.mark.campaign
def test_pip_takes_the_pins_by_their_hashes(tmp_path):
    done = run(
        sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed", "--require-hashes", "--no-deps",
        "--only-binary=:all:", "--target", tmp_path, "-r", PINS, timeout_s=RESOLVE_TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
