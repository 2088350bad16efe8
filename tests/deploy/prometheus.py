"""A real Prometheus with our rules, on targets of the test's choosing."""

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

from farthing.local.process import free_port

CONFIG = Path(__file__).parents[2] / "deploy" / "prometheus"


def require_prometheus():
    """Skip, or fail where it is required, without the program."""
    program = shutil.which("prometheus")
    if program is None:
        why = "Prometheus is not installed (Debian: apt-get install prometheus)"
        if os.environ.get("FARTHING_REQUIRE_PROMTOOL", "") not in ("", "0"):
            pytest.fail(f"FARTHING_REQUIRE_PROMTOOL is set, but {why}")
        pytest.skip(why)
    return program


class Prometheus:
    """``targets``: job name -> ports on loopback. Scrapes and evaluates every second."""

    def __init__(self, folder, targets):
        self._program = require_prometheus()
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "prometheus.log"
        config = yaml.safe_load((CONFIG / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(CONFIG / "rules" / "*.yml")]
        config["scrape_configs"] = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}
            for job, ports in targets.items()
        ]
        self._config = folder / "prometheus.yml"
        self._config.write_text(yaml.safe_dump(config))
        self.process = None

    def __enter__(self):
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [self._program, f"--config.file={self._config}", f"--storage.tsdb.path={self.folder / 'data'}",
                 f"--web.listen-address=127.0.0.1:{self.port}"],
                stdout=log, stderr=log,
            )  # fmt: skip
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)

    def ask(self, expression):
        """Give the result of an instant query."""
        url = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]["result"]

    def value(self, expression):
        """Give the one value of an expression; None while there is none."""
        found = self.ask(expression)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def known(self, expression, seconds=60):
        """Give the one value of an expression; wait while there is none, as after a scrape that a busy machine missed."""
        found = []
        self.until(lambda: found.append(self.value(expression)) or found[-1] is not None, seconds)
        return found[-1]

    def until(self, condition, seconds):
        """Wait for a condition; connections that are refused meanwhile are no failure."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError):
                if condition():
                    return
            assert time.monotonic() < deadline and self.process.poll() is None, self.log.read_text()[-3000:]
            time.sleep(0.3)
