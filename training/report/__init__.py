"""Runs compared in one self-contained page: table, curves, pictures, verdict."""
