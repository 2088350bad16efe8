"""From feature ids to scores: the bundle, the embedding bag, the ONNX session and the last step."""
