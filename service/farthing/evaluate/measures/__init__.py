"""Measures of labelled scores: pure, arrays in and numbers out."""
