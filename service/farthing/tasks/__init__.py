"""What a score means: one small module for each task."""
