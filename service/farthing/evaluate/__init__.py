"""How good are the scores? Pure functions on arrays: metrics, simulations, intervals."""
