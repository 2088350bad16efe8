"""The command ``farthing breakeven``: its options, and the report of the study in words, tables and a chart."""
