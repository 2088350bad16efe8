"""Turns feature ids into scores: bundles, the embedding bag, the ONNX session, and the step from logits to scores."""
