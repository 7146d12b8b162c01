"""LightlyTrain on shard sets: an encoder from images alone.

    pretrain (the command)  ->  lightly (the one adapter to LightlyTrain)  ->  its export  ->  pretrain  ->  encoder.pt
                                   reads images of training.loading, makes views of them under reseed

`augmentations` are the tutorial's two choices of transform arguments. `reseed` makes the views a function of seed,
epoch and sample, whatever draws them. `environment` directs LightlyTrain's files and messages while it trains.
"""
