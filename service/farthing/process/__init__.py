"""What every Farthing process shares: standard streams, logs, how it starts and ends, and which Python it runs on."""
