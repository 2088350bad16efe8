"""Fuzzing: what strangers can send or write, mutated. See :mod:`tests.fuzz.targets` and :mod:`tests.fuzz.kernels`."""
