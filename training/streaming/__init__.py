"""Whole shards in sequence, through webdataset."""
