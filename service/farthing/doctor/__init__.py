"""``farthing doctor``: looks at everything that scoring needs, changes nothing, and says how to mend what is wrong."""
