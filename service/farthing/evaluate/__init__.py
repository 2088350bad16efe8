"""How good are the scores? Labelled rows in, the metrics people in each field use out, with bootstrap intervals.

::

    files -> rows -> scores -> measures/: binary | ranking | bidding, auctions -> report, plots
                               (bootstrap: intervals of all metrics)

Those in ``measures/`` are pure functions on arrays and know nothing of bundles.
Undefined is NaN in arrays and absent from what is printed, never 0.
"""
