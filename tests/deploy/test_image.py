"""The image: what its Dockerfile promises, its small scripts, and its steps replayed without a container engine."""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from farthing.local.process import free_port
from tests.deploy.dockerfile import Replay, exec_form, only, read

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
ARGUMENTS, STAGES = read(DOCKERFILE)


def test_the_user_is_a_number_above_10000():
    for name in ("farthing", "loadtest"):
        uid, gid = map(int, only(STAGES[name], "USER").split(":"))
        assert uid >= 10_000 and gid >= 10_000
        assert STAGES[name].steps[-1][0] != "RUN"


def test_the_base_has_a_tag_that_is_a_version_and_every_stage_has_one_base():
    name, _, tag = ARGUMENTS["PYTHON_IMAGE"].partition(":")
    assert name == "python" and re.match(r"3\.\d+-slim-\w+$", tag)
    assert {stage.base for stage in STAGES.values()} == {"${PYTHON_IMAGE}", "build"}


def test_kernels_are_looked_for_where_and_as_they_were_compiled():
    def settings(stage):
        text = " ".join(rest for word, rest in STAGES[stage].steps if word == "ENV")
        return dict(re.findall(r"(NUMBA_\w+)=(\S*)", text))

    assert settings("build") == settings("farthing")
    assert settings("build")["NUMBA_CACHE_DIR"].startswith("/opt/farthing/")


def test_packages_are_pinned_with_digests_and_never_built():
    runs = [rest for word, rest in STAGES["build"].steps if word == "RUN"]
    for line in runs:
        for install in re.findall(r"pip --python \S+ install(?:(?!&&).)*", line):
            pinned = "--require-hashes" in install and "--only-binary=:all:" in install
            assert pinned or "--no-index" in install, install
    text = (DEPLOY / "requirements-build.txt").read_text()
    for pin in re.findall(r"^\w.*", text, re.M):
        assert re.fullmatch(r"[\w.-]+==[\w.]+ \\", pin), pin
    assert text.count("==") == text.count("--hash=sha256:")


def test_what_is_copied_is_there_and_reaches_the_builder():
    let_in = re.findall(r"^!(.*)", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.M)
    for stage in STAGES.values():
        for word, rest in stage.steps:
            if word == "COPY" and not rest.startswith("--from"):
                for name in rest.split()[:-1]:
                    assert name in let_in, f"{name} is kept out by Dockerfile.dockerignore"
    assert not [name for name in let_in if not (DEPLOY.parent / name).exists() and name != "deploy/requirements.txt"]


class _Probe(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/live" else 503)
        self.end_headers()
        self.wfile.write(b"live\n" if self.path == "/live" else b"stalled: the broker does not answer\n")

    def log_message(self, *_):
        pass


def _healthcheck(*arguments, **environment):
    return subprocess.run(
        [sys.executable, str(DEPLOY / "healthcheck.py"), *arguments],
        capture_output=True, text=True, timeout=30, env={**os.environ, **environment},
    )  # fmt: skip


def test_the_health_check_asks_the_address_that_the_service_listens_on():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Probe) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = str(server.server_address[1])
        for host in ("0.0.0.0", "127.0.0.1"):
            live = _healthcheck("/live", FARTHING_HTTP__HOST=host, FARTHING_HTTP__PORT=port)
            assert (live.returncode, live.stderr) == (0, "")
        ready = _healthcheck("/ready", port)
        assert ready.returncode == 1
        assert ready.stderr == "/ready: 503 stalled: the broker does not answer\n"
        server.shutdown()


def test_the_health_check_fails_when_nobody_answers():
    done = _healthcheck("/live", str(free_port()))
    assert done.returncode == 1 and "no answer" in done.stderr
    assert _healthcheck().returncode == 2


def _pin(tmp_path, docker, *arguments):
    client = tmp_path / "docker"
    client.write_text(f"#!/bin/sh\n{docker}\n")
    client.chmod(0o755)
    return subprocess.run(
        ["/bin/sh", str(DEPLOY / "pin-base.sh"), *arguments],
        capture_output=True, text=True, timeout=30, env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )  # fmt: skip


def test_the_base_is_pinned_to_the_digest_that_the_registry_tells(tmp_path):
    digest = "sha256:" + "a1" * 32
    done = _pin(tmp_path, f'echo "$@" > {tmp_path}/asked; echo \'"{digest}"\'')
    image = ARGUMENTS["PYTHON_IMAGE"]
    assert done.stdout == f"--build-arg PYTHON_IMAGE={image}@{digest}\n"
    assert (tmp_path / "asked").read_text().split()[:3] == ["buildx", "imagetools", "inspect"]
    assert (tmp_path / "asked").read_text().split()[-1] == image
    pinned = _pin(tmp_path, "exit 9", f"{image}@{digest}")
    assert pinned.stdout == f"--build-arg PYTHON_IMAGE={image}@{digest}\n"


@pytest.mark.parametrize("docker", ["exit 1", "echo", "echo sha256:abc", "echo 'no such manifest'"])
def test_no_digest_is_an_error_and_nothing_is_printed(tmp_path, docker):
    done = _pin(tmp_path, docker)
    assert done.returncode == 1 and not done.stdout and "gave no digest" in done.stderr


def test_an_image_without_a_tag_is_refused(tmp_path):
    assert _pin(tmp_path, "exit 0", "python").returncode == 2


@pytest.mark.campaign
def test_the_steps_replayed_end_in_a_service_that_scores_for_another_user_on_a_read_only_tree():
    """Minutes: it installs every pinned package from the registry and compiles every kernel."""
    if os.geteuid() != 0:
        pytest.skip("another uid can be tried by root alone")
    if not (DEPLOY / "requirements.txt").is_file():
        pytest.skip("deploy/requirements.txt is not there: python deploy/pin.py")
    root = Path(tempfile.mkdtemp(prefix="farthing-image-"))
    try:
        root.chmod(0o755)
        replay = Replay(DOCKERFILE, root)
        replay.make("build")
        environment, facts = replay.make("farthing")
        uid, gid = map(int, facts["USER"].split(":"))
        compiled = [path.read_bytes()[4:8] for path in (root / "opt" / "farthing" / "lib").rglob("*.pyc")]
        assert len(compiled) > 1_000 and set(compiled) == {b"\1\0\0\0"}  # PEP 552: a hash that is not checked
        scratch = root / "scratch"  # the container's tmpfs
        for path in (root, *root.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & 0o555)
        scratch.mkdir(mode=0o777)
        scratch.chmod(0o777)
        assert environment["HOME"] == "/tmp"
        environment |= {"HOME": str(scratch), "TMPDIR": str(scratch)}

        def as_user(words, given=""):
            return subprocess.run(
                words, input=given, capture_output=True, text=True, timeout=300, cwd=scratch, env=environment,
                user=uid, group=gid, extra_groups=[],
            )  # fmt: skip

        entry = exec_form(facts["ENTRYPOINT"])
        events = '{"id":1,"text":"have a nice day"}\n{"id":2,"text":"shut up you idiot"}\n'
        scored = as_user([*entry, "score", "moderation"], events)
        assert scored.returncode == 0, scored.stderr
        records = [json.loads(line) for line in scored.stdout.splitlines()]
        assert [record["id"] for record in records] == [1, 2]
        assert records[0]["score"] < records[1]["score"]
        # Nothing was compiled and nothing was written: the kernels are those of the image.
        assert "compiling" not in scored.stderr and "not kept" not in scored.stderr
        assert not list(scratch.rglob("*.nbc"))
        # What is not there is written to the user's own folder, so the check above can fail.
        environment["NUMBA_CPU_NAME"] = "x86-64-v2"
        other = as_user([*entry, "score", "moderation"], events)
        assert other.stdout == scored.stdout  # another CPU, the same bytes
        assert list(scratch.rglob("*.nbc"))
        touched = as_user(["/bin/sh", "-c", f"touch {root}/opt/farthing/x"])
        assert touched.returncode != 0
        # Without a broker the service says so; with settings that are wrong, too.
        shown = as_user([*entry, "serve", "-c", str(DEPLOY / "no-such.toml")])
        assert shown.returncode == 2, shown.stderr
        environment["FARTHING_HTTP__PORT"] = str(free_port())
        health = exec_form(facts["HEALTHCHECK"])
        assert as_user([replay.rewrite(word) for word in health]).returncode == 1
    finally:
        shutil.rmtree(root, ignore_errors=True)
