"""What every process of Farthing shares: its standard streams, its logs, its way out, the Python that it runs on."""
