"""LightlyTrain on shard sets: an encoder from images alone.

    pretrain (the command)  ->  lightly (the call)  ->  its export  ->  pretrain  ->  encoder.pt
                                 strategy (its loader becomes one of views)
                                   views (of the images of training.loading, under reseed), or training.views

`augmentations` are the tutorial's two choices of transform arguments. `reseed` makes the views a function of seed,
epoch and sample, whatever draws them. `environment` directs LightlyTrain's files and messages while it trains.
`collapse` ends a run that learns nothing. What LightlyTrain takes is in `training.lightlytrain`.
"""
