"""What a network must beat: a constant and a profile by image row, fitted for each metric to the training depths.

- `names`: what they are called.
- `depth_sums`: one pass over these depths; `fits`: the profiles that are best by each metric.
- `fitted`: both baselines of a training set, kept in a file.
- `measured`: their metrics on a set.
"""
