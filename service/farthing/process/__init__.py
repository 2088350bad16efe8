"""What every long-running process of Farthing needs, whatever it serves."""
