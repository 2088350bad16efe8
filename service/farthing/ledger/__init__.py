"""The ledger: keeps the books of what was scored, and says what it cost and what it saved."""
