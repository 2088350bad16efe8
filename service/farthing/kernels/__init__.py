"""The only room that imports numba: decorators that make kernels, their cache on disk, and the pieces they share."""
