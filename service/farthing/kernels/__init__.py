"""The only room that knows numba: what makes kernels, their cache on disk, and the pieces that they share."""
