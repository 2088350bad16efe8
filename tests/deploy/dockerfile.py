"""Reads a Dockerfile, and carries its steps out in a folder, where there is no container engine.

It understands what deploy/Dockerfile uses, and refuses everything else. A path of the image is a path under the
replay's root; RUN lines and ENV values that name one are rewritten, word by word. The base image is a copy of the
Python that runs the tests.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

RUN_TIMEOUT_S = 1_500
INSIDE = re.compile(r"(?<![\w./-])/(?:opt|src|etc/farthing)(?=[/\s:'\";)]|$)")


@dataclass
class Stage:
    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)


def read(path):
    """Give the Dockerfile's global arguments and its stages, lines joined and comments left out."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.M)
    arguments, stages = {}, []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if not line.strip():
            continue
        word, rest = line.split(None, 1)
        if word == "FROM":
            base, _, name = rest.split()
            stages.append(Stage(name, base))
        elif stages:
            stages[-1].steps.append((word, rest))
        else:
            assert word == "ARG", line
            name, _, value = rest.partition("=")
            arguments[name] = value
    return arguments, {stage.name: stage for stage in stages}


def only(stage, word):
    """Give what stands after the one instruction of a kind."""
    (found,) = [rest for kind, rest in stage.steps if kind == word]
    return found


class Replay:
    """One image that is being made in ``root``."""

    def __init__(self, dockerfile, root):
        self.arguments, self.stages = read(dockerfile)
        self.context = dockerfile.parents[1]
        self.root = root
        self.log = root / "replay.log"
        copy_python(root / "base")

    def base_environment(self):
        # A Python that was built with a shared library looks for it where it was installed: others may not read that.
        base = self.root / "base"
        return {"PATH": f"{base / 'bin'}:/usr/bin:/bin", "LD_LIBRARY_PATH": str(base / "lib"), "HOME": str(self.root)}

    def inside(self, path):
        return self.root / path.lstrip("/")

    def rewrite(self, text):
        return INSIDE.sub(lambda match: f"{self.root}{match[0]}", text)

    def make(self, name):
        """Carry out a stage's steps; gives its environment, user and entry point, for :meth:`start`."""
        stage = self.stages[name]
        assert stage.base == "${PYTHON_IMAGE}", f"{name}: from {stage.base}"
        known, environment, folder = {}, self.base_environment(), self.root
        facts = {}
        for word, rest in stage.steps:
            if word == "ARG":
                known[rest] = self.arguments[rest]
            elif word == "ENV":
                for key, value in re.findall(r"(\w+)=(\S*)", rest):
                    value = re.sub(r"\$\{(\w+)\}", lambda m: known[m[1]], value)
                    environment[key] = self.rewrite(value.replace("$PATH", environment["PATH"]))
            elif word == "WORKDIR":
                folder = self.inside(rest) if INSIDE.match(rest) else self.root / "home" / rest.lstrip("/")
                folder.mkdir(parents=True, exist_ok=True)
            elif word == "COPY":
                self.copy(rest, folder)
            elif word == "RUN":
                self.run(self.rewrite(rest), environment, folder)
            elif word in ("USER", "ENTRYPOINT", "CMD", "HEALTHCHECK"):
                facts[word] = rest
            else:
                assert word in ("LABEL", "EXPOSE", "STOPSIGNAL"), f"{word} is not understood"
        return environment, facts

    def copy(self, rest, folder):
        *sources, target = rest.removeprefix("--from=build ").split()
        if rest.startswith("--from=build "):
            assert sources == [target], "a stage's tree stays where it was made: kernels and scripts hold its path"
            return
        goal = self.inside(target) if target.startswith("/") else folder / target
        for name in sources:
            source = self.context / name
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "*.nbc", "*.nbi")
                shutil.copytree(source, goal, ignore=ignore, dirs_exist_ok=True)
            else:
                to = goal / source.name if len(sources) > 1 or target.endswith("/") else goal
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, to)

    def run(self, command, environment, folder):
        # How this machine reaches its package registry is not the image's business, but the replay needs it.
        reach = {
            k: v for k, v in os.environ.items() if re.fullmatch(r"(?i)PIP_(EXTRA_)?INDEX_URL|PIP_CERT|\w+_proxy", k)
        }
        for folder_of_settings in (Path.home() / ".config" / "pip" / "pip.conf", Path.home() / ".pip" / "pip.conf"):
            if folder_of_settings.is_file():
                reach["PIP_CONFIG_FILE"] = str(folder_of_settings)
        with self.log.open("a") as log:
            log.write(f"\n$ {command}\n")
            log.flush()
            done = subprocess.run(
                ["/bin/sh", "-euc", command], cwd=folder, env={**reach, **environment}, stdout=log, stderr=log,
                timeout=RUN_TIMEOUT_S,
            )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{self.log.read_text()[-3000:]}"


def copy_python(target):
    """Copy the running Python as a base image has it: its own files and pip, no other package."""
    home = Path(sys.base_prefix)
    version = f"python{sysconfig.get_python_version()}"
    ignore = shutil.ignore_patterns(
        "site-packages", "__pycache__", "test", "tests", "idlelib", "tkinter", "*.a", "config-*"
    )
    (target / "bin").mkdir(parents=True)
    shutil.copytree(home / "lib" / version, target / "lib" / version, ignore=ignore)
    for library in (home / "lib").glob("libpython*.so*"):
        shutil.copy2(library, target / "lib")
    shutil.copy2(home / "bin" / version, target / "bin" / version)
    for name in ("python", "python3"):
        (target / "bin" / name).symlink_to(version)
    packages = target / "lib" / version / "site-packages"
    packages.mkdir()
    for folder in (home / "lib" / version / "site-packages").glob("pip*"):
        shutil.copytree(folder, packages / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    assert (packages / "pip").is_dir(), f"{home} has no pip to begin with"


def exec_form(text):
    """Give the words of an instruction in exec form, without its flags."""
    return json.loads(text[text.index("[") :])
