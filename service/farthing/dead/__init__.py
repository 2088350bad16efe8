"""What to do with dead letters: counts them, shows them, and sends their events on their way again."""
