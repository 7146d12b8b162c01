"""LightlyTrain on shard sets: the one adapter, reproducible views, the command."""
