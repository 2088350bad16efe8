"""``farthing audit``: recounts the score and dead-letter topics against the ledger's books."""
