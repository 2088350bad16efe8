"""What every process of Farthing shares: its standard streams, its last word, the Python that it runs on."""
