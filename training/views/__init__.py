"""LightlyTrain's views, made on the device: a loader worker decodes an image once and draws, the rest is batched.

In a loader worker, for each batch of positions:

    images (training.loading) -> bytes and seed -> draws (boxes, angles, factors, of `recipe`)
                                                -> reduced (decoded at 1, 1/2, 1/4 or 1/8) -> batch (one flat buffer)

In the training process:

    batch -> render: area (crop, resize, flips) -> rotate -> colour -> blur -> solarize, normalise -> views

`recipe` reads the parameters from LightlyTrain's own transform. What a view shows depends on its sample's seed alone,
bit for bit: no result here depends on what else is in the batch.
"""
