"""Measures how good scores are: labelled rows in, the usual metrics of each field out, with bootstrap intervals.

::

    files -> rows -> scores -> measures/: binary | ranking | bidding, auctions -> report, plots
                               (bootstrap: intervals of all metrics)

``measures/`` has pure functions on arrays, which know nothing of bundles. An undefined metric is NaN in arrays and is
left out of what is printed; it is never 0.
"""
