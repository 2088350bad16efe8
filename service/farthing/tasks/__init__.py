"""What a score means: one small module a task."""
