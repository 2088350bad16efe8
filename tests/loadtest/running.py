"""Locust under test: a run of the locustfile as a user starts it, and what it left."""

import asyncio
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCUSTFILE = ROOT / "loadtest" / "locustfile.py"


class Run:
    """One run; ``stem`` is where its CSV, HTML and summary lie."""

    def __init__(self, service, folder, *options, name="run"):
        self.stem = folder / name
        self.command = [
            sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary",
            "--farthing-config", str(service.config), "--csv", str(self.stem), "--html", f"{self.stem}.html",
            "--summary", f"{self.stem}.json", *map(str, options),
        ]  # fmt: skip
        self.log = folder / f"{name}.log"
        self.folder = folder
        self.process = None

    def start(self):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("LOCUST_", "LOADTEST_", "FARTHING_"))}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def wait(self, timeout_s=120):
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.said()
            await asyncio.sleep(0.1)
        return self.process.returncode

    async def __call__(self, timeout_s=120):
        self.start()
        try:
            return await self.wait(timeout_s)
        finally:
            self.end()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def said(self):
        return self.log.read_text()[-4000:]

    @property
    def summary(self):
        return json.loads(Path(f"{self.stem}.json").read_text())

    def rows(self):
        """Locust's own statistics: (type, name) -> row of the CSV."""
        with Path(f"{self.stem}_stats.csv").open() as file:
            return {(row["Type"], row["Name"]): row for row in csv.DictReader(file)}
