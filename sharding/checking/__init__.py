"""Prove a set, compare it with its source, look at it."""
