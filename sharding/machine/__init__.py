"""Processes, threads, memory, signals, files and locks of this machine."""
