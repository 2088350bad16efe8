"""``farthing demo``: a local broker, a generator of events, the worker, and a live look at what comes out."""

from farthing.demo.options import DemoOptions

__all__ = ["DemoOptions", "run_demo"]


async def run_demo(options: DemoOptions) -> int:
    """Run the demo (see :func:`farthing.demo.run.run_demo`), loaded only now: ``--help`` does without it."""
    from farthing.demo import run

    return await run.run_demo(options)
