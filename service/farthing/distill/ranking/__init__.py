"""From queries with labelled candidates to an int8 bundle of the task rerank (extra ``distill``: PyTorch)."""
