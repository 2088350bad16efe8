"""From a click log to an int8 bundle of the task bidding."""
