"""How fast a run trains, and how long it will take.

monitor          logs samples per second and the share of time spent waiting for data
timeline       the steps of a run by the clock of the device
rank_waits     of the rank that waits most
train_progress   the bar
run_clock      how long the run will take
"""
