"""Which process this is, on which devices, and how all of them end together."""
