"""What a laptop needs: brokers as child processes, and seeded made-up events."""
