"""Computes money: what scoring costs, what the same events would cost on a frontier-model API, and which is cheaper.

::

    usage       integer counts: events, rows, bytes, calls by size class      (workers)
    tokens      bytes -> tokens, with an interval                             (a sample of events, or a stated ratio)
    prompts     what would be sent and answered for one event of a task
    rates       what one call costs, by its context tier
    prices      rates of a model as of a date, with their basis               (genai-prices, or the user's file)
    opponents   the alternatives: the same events on a model's API, naive, cached, batch, packed, all combined
    limits      whether the provider would accept this traffic; the free endpoints
    own_cost    reserved cores, people, storage, training
    breakeven   curve, threshold, payback, verdict; sensitivity: the threshold with one assumption changed
    calibration list price against the bill
    study       one comparison with all of these in it

Counts are integers, arithmetic is exact (:class:`fractions.Fraction`), and dollars become :class:`decimal.Decimal`
once, at the end. Every estimate has a low, a mid and a high. Undefined is not zero: a missing price is None. Nothing
here reads a clock or the network; ``prices``, ``facts``, ``prompts`` and ``tokens`` read local files when asked to.
"""
