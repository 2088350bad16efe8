"""Makes an int8 bundle of the task rerank from queries with labelled candidates."""
