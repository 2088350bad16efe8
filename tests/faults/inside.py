"""Changes inside the processes of a service under test: a clock that is moved, sequences that are about to wrap.

They are made by a ``sitecustomize.py`` on the path of the service, so that a supervisor's workers have them too.
"""

import os

CLOCK = """
import os, time
_true = {name: getattr(time, name) for name in ("time", "time_ns")}
def _step():
    try:
        with open(os.environ["CELL_CLOCK"]) as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0
time.time = lambda: _true["time"]() + _step()
time.time_ns = lambda: _true["time_ns"]() + _step() * 10**9
"""

LATE_SEQUENCES = """
from farthing.kafka import producer
class Late(dict):
    def get(self, key, default=None):
        return dict.get(self, key, 2**31 - 1_000)
_made = producer.BatchProducer.__init__
def _make(self, *arguments, **options):
    _made(self, *arguments, **options)
    self._sequences = Late()
producer.BatchProducer.__init__ = _make
"""


def environment(folder, source):
    """Write the change into a folder; gives the environment of a service that has it."""
    place = folder / "inside"
    place.mkdir(exist_ok=True)
    (place / "sitecustomize.py").write_text(source)
    path = os.pathsep.join(part for part in (str(place), os.environ.get("PYTHONPATH")) if part)
    return {**os.environ, "PYTHONPATH": path, "CELL_CLOCK": str(place / "clock")}


def set_clock(folder, seconds):
    """Move the clock of a service by so many seconds from the true time."""
    new = folder / "inside" / "clock.new"
    new.write_text(str(seconds))
    new.replace(folder / "inside" / "clock")
