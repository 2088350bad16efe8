"""The work of those commands that have no package of their own, a module each."""
