"""How good are the scores? Labelled rows in, the metrics people in each field use out, with bootstrap intervals.

::

    files -> rows -> scores -> binary | ranking | auctions -> report, plots
             (bootstrap: intervals of all metrics)

``binary``, ``ranking``, ``auctions`` and ``bootstrap`` are pure functions on arrays and know nothing of bundles.
Undefined is NaN in arrays and absent from what is printed, never 0.
"""
