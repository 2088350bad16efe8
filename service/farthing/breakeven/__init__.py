"""``farthing breakeven``: options, the study, its words, tables and chart."""
