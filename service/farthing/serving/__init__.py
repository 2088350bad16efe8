"""The service: the loop around the stages, and a worker's life from start to drain."""
