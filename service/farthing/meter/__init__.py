"""Pure money: what scoring costs, what the same events would cost on a frontier-model API, and when that API wins.

::

    usage       integer counts: events, rows, bytes, calls by size class      (workers)
    tokens      bytes -> tokens, with an interval                             (a sample of events, or a stated ratio)
    prompts     what would be sent and answered for one event of a task
    rates       what one call costs, by its context tier
    prices      rates of a model as of a date, with their basis               (genai-prices, or the user's file)
    opponents   the alternatives: the same events on a model's API, naive, cached, batch, packed, all combined
    limits      whether the provider would take this traffic; the free endpoints
    own_cost    reserved cores, people, storage, training
    breakeven   curve, threshold, payback, verdict; sensitivity: the threshold with one assumption changed
    calibration list price against the bill
    study       one comparison with all of these in it

Counts are integers, arithmetic is exact (:class:`fractions.Fraction`), dollars are :class:`decimal.Decimal` and are
made once, at the end. Every estimate carries low, mid and high. Undefined is not zero: what has no price is None.
Nothing here reads a clock or the network; ``prices``, ``facts``, ``prompts`` and ``tokens`` read local files when asked
to.
"""
