"""Teachers that are trained here, on gold labels, for when there is no frontier model to teach."""
