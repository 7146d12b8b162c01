"""Names of the baselines; loads no torch."""

CONSTANT, ROW = "constant", "row"
