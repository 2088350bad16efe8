"""The only room that knows numba: the decorator of kernels, their cache on disk, and what they share."""
