"""Models ready to score: loads a bundle, checks it and runs its stages."""
