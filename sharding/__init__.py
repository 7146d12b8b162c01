"""Shard sets: make them, prove them, read them. Imports no torch."""
