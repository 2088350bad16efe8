"""A model ready to score: a bundle's stages as one object."""
