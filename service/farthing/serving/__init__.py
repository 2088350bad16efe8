"""The service: the loop around the stages, and the life of a worker from start to drain."""
