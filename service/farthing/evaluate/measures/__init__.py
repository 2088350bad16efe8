"""Metrics of labelled scores, as pure functions from arrays to numbers."""
