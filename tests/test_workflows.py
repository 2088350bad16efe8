"""Workflows, forms, hooks and the scripts under .ci: they are well formed, pinned, and say what the project says."""

import importlib.util
import json
import re
import subprocess
import tomllib
from datetime import date
from pathlib import Path

import jsonschema
import pytest
import yaml

import farthing

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

pytestmark = pytest.mark.skipif(not WORKFLOWS, reason="this is no checkout")


def read(path):
    """A YAML file; the key ``on`` is YAML's word for true."""
    return {"on" if key is True else key: value for key, value in yaml.safe_load(path.read_text()).items()}


SCHEMAS = [
    *((path, "github-workflows") for path in WORKFLOWS),
    *((path, "github-issue-forms") for path in FORMS),
    (GITHUB / "ISSUE_TEMPLATE" / "config.yml", "github-issue-config"),
    (GITHUB / "dependabot.yml", "dependabot"),
]


@pytest.mark.parametrize(("path", "schema"), SCHEMAS, ids=[path.name for path, _ in SCHEMAS])
def test_files_for_github_have_its_form(path, schema):
    # The package itself is not imported: its commands want another click than Faust does.
    (package,) = importlib.util.find_spec("check_jsonschema").submodule_search_locations
    vendored = Path(package) / "builtin_schemas" / "vendor" / f"{schema}.json"
    found = json.loads(vendored.read_text("utf-8"))
    validator = jsonschema.validators.validator_for(found)(found)
    assert [error.message for error in validator.iter_errors(read(path))] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_to_a_commit_with_its_full_version(path):
    for used in re.findall(r"uses: (.*)", path.read_text()):
        assert used.startswith("./") or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), used


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_do_no_more_than_they_must(path):
    flow = read(path)
    assert flow["permissions"] in ({}, {"contents": "read"})
    writing = {name: job["permissions"] for name, job in flow["jobs"].items() if "write" in str(job.get("permissions"))}
    expected = {"pypi": {"id-token": "write"}, "github": {"contents": "write"}} if path.name == "release.yml" else {}
    assert writing == expected
    assert "pull_request_target" not in flow["on"]
    for job in flow["jobs"].values():
        assert "timeout-minutes" in job or "uses" in job
        for step in job.get("steps", ()):
            assert "${{" not in step.get("run", ""), "a value goes into a script through env, where it is no code"
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_the_matrix_is_what_the_project_says_it_runs_on():
    ci = read(GITHUB / "workflows" / "ci.yml")
    matrix = ci["jobs"]["pure"]["strategy"]["matrix"]
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    lowest, highest = matrix["python"][0], matrix["python"][-1]
    assert PROJECT["requires-python"].startswith(f">={lowest}")
    assert f"Python {lowest} to {highest}" in (ROOT / "README.md").read_text()
    assert matrix["python"] == [f"3.{minor}" for minor in range(int(lowest[2:]), int(highest[2:]) + 1)]


def test_the_pure_tests_are_there_and_need_neither_broker_nor_posix():
    for line in (ROOT / ".ci" / "pure").read_text().splitlines():
        path = ROOT / line.removeprefix("--ignore=")
        assert path.exists(), line
        for file in path.rglob("test_*.py") if path.is_dir() else [path]:
            text = file.read_text(encoding="utf-8")
            assert not re.search(r"apache_kafka|own_kafka|tansu|selenium", text), file
            assert not re.search(r"^import (resource|fcntl|pwd|grp|termios)$", text, re.M), f"{file}: not on Windows"


def test_hooks_are_local_and_the_same_programs_as_the_checks():
    hooks = read(ROOT / ".pre-commit-config.yaml")
    assert [repo["repo"] for repo in hooks["repos"]] == ["local"]
    checks = re.search(r"^check:\n((?: +.*\n)+)", (ROOT / ".justfile").read_text(), re.M)[1]
    for hook in hooks["repos"][0]["hooks"]:
        program = hook["entry"].split()[0].removeprefix(".venv/bin/")
        assert program in checks, hook["id"]


def test_the_recipes_that_are_named_are_there():
    recipes = set(re.findall(r"^(\w+)(?: \*\w+)?:$", (ROOT / ".justfile").read_text(), re.M))
    pages = [GITHUB / "CONTRIBUTING.md", GITHUB / "pull_request_template.md", ROOT / ".ci" / "run"]
    named = {word for page in pages for words in re.findall(r"bin/just ([a-z ]+)|`just (\w+)", page.read_text())
             for word in " ".join(words).split()}  # fmt: skip
    assert {"check", "test", "fast", "coverage", "bench", "docs", "release"} <= named <= recipes


# -------------------------------------------------------------------------------------------------------- the subjects


def git(folder, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def subjects(folder, *arguments, script=ROOT / ".ci" / "subjects"):
    return subprocess.run([script, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("message", "good"),
    [
        ("x" * 72, True),
        ("x" * 73, False),
        ("é" * 72, True),  # characters, not bytes
        ("# a comment " + "x" * 80 + "\n\nShort\n\n" + "y" * 200, True),
        ("Merge branch " + "x" * 80, True),
        ("", True),  # git itself refuses it
    ],
)
def test_the_subject_of_a_message_has_at_most_72_characters(tmp_path, message, good):
    file = tmp_path / "COMMIT_EDITMSG"
    file.write_text(message, encoding="utf-8")
    done = subjects(tmp_path, str(file))
    assert (done.returncode == 0) == good
    assert good or "73 characters, at most 72" in done.stderr


def test_commits_since_the_rule_are_read_and_older_ones_are_not(tmp_path):
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "o" * 90)
    script = tmp_path / "subjects"
    text = (ROOT / ".ci" / "subjects").read_text()
    script.write_text(re.sub(r"rule_made=\w+", "rule_made=" + git(tmp_path, "rev-parse", "HEAD"), text))
    script.chmod(0o755)
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "n" * 72)
    assert subjects(tmp_path, script=script).returncode == 0
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "long " + "n" * 72)
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "n" * 72)
    done = subjects(tmp_path, script=script)
    assert done.returncode == 1 and done.stderr.count("characters, at most 72") == 1


# --------------------------------------------------------------------------------------------------------- the release


@pytest.fixture(scope="module")
def release():
    spec = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_version_is_one(release):
    assert release.version() == farthing.__version__ == PROJECT["version"]


def test_the_changelog_has_each_version_dated_newest_first():
    text = (ROOT / "service" / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (.*)$", text, re.M)
    assert headings[0] == "Unreleased" or headings[0].startswith(PROJECT["version"])
    dated = [heading.split(", ") for heading in headings if heading != "Unreleased"]
    assert ["0.1.0", "2026-11-26"] in dated
    assert [date.fromisoformat(day) for _, day in dated] == sorted(
        (date.fromisoformat(d) for _, d in dated), reverse=True
    )


LOG = "# Changes\n\n## 0.2.0, 2027-01-31\n\n- You saw *x*: now y.\n\n## 0.1.0, not yet\n\nz\n\n## 0.0.1, 2026-01-01\n"


def test_notes_are_the_versions_part_of_the_changelog(release):
    assert release.notes(LOG, "0.2.0") == "- You saw *x*: now y.\n"


@pytest.mark.parametrize(
    ("number", "said"),
    [("0.3.0", "has no heading"), ("0.1.0", "no date, but 'not"), ("0.0.1", "says nothing about 0.0.1")],
)
def test_a_version_without_its_part_is_refused(release, number, said):
    with pytest.raises(SystemExit, match=said):
        release.notes(LOG.replace("not yet", "not-yet"), number)


def test_a_tag_of_another_version_is_refused(release):
    release.check_tag("v0.1.0", "0.1.0")
    with pytest.raises(SystemExit, match=r"the tag is v0\.1\.1 and the version 0\.1\.0"):
        release.check_tag("v0.1.1", "0.1.0")


# ------------------------------------------------------------------------------------------------------------ the SBOM


@pytest.fixture(scope="module")
def sbom():
    spec = importlib.util.spec_from_file_location("sbom", ROOT / ".ci" / "sbom.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def component(name, **hashed):
    return {"name": name, "externalReferences": [{"type": "distribution", "url": "x", **hashed}]}


HASHES = {"hashes": [{"alg": "SHA-256", "content": "00"}]}


def test_every_pin_is_in_the_sbom_with_a_hash(sbom):
    names = sbom.pinned(
        "# x\nA_b.c==1 \\\n    --hash=sha256:00\nd[e,f]==2 ; python_version < '3.14' \\\n    --hash=x\n"
    )
    assert names == {"a-b-c", "d"}
    assert len(sbom.pinned((ROOT / "deploy" / "requirements.txt").read_text())) > 40
    sbom.check({"components": [component("A-B.c", **HASHES), component("d", **HASHES)]}, names)
    for components, missing in (([], "a-b-c, d"), ([component("a-b-c", **HASHES), component("d")], "d")):
        with pytest.raises(SystemExit, match=f"sbom: {missing} are pinned"):
            sbom.check({"components": components}, names)


def test_the_sbom_is_made_for_each_change_and_each_release(release):
    steps = read(GITHUB / "workflows" / "ci.yml")["jobs"]["sbom"]["steps"]
    assert any(step.get("run") == "just sbom" for step in steps)
    assert "python .ci/sbom.py" in (ROOT / ".justfile").read_text()
    assert '".ci/sbom.py"' in Path(release.__file__).read_text()


def test_each_night_fuzzes_every_target_and_soaks():
    jobs = read(GITHUB / "workflows" / "nightly.yml")["jobs"]
    scripts = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    for needed in ("--campaign tests/fuzz", "tests.fuzz.run list", "--campaign tests/campaigns/test_soak.py"):
        assert any(needed in script for script in scripts), needed
