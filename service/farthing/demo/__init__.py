"""``farthing demo``: a local broker, a generator of events, the worker, and a live look at what comes out."""

from farthing.demo.run import DemoOptions, run_demo

__all__ = ["DemoOptions", "run_demo"]
