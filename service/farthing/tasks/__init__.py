"""The tasks: one module for each says what a score means and how it becomes a decision."""
