"""Makes an int8 bundle of the task bidding from a click log."""
