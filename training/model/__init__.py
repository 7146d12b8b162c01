"""The depth network as it is trained: log depth, its loss, its optimizer and its validation.

    image -> shrink -> network -> z = ln(depth in metres) -+-> loss per valid pixel              (training)
                                                           +-> enlarge, exp -> depth metrics  (validation)

- `log_depth`: the network with its normalisation and range, as it predicts; `depth_unet`: that, trained and validated.
- `hyperparameters`: what defines it besides weights.
- `criterion`: the loss of a run with its parameters, and the protocol that judges it.
- `validation`: what an epoch's validation adds up.
- `depth_range`: from log depth to depth.
- `inference`: a network applied to photos of any camera and size.
- `schedule`: the learning rate at a step; `optimizer`: AdamW, and an encoder that is frozen at first.
- `cost`: operations and memory of a step, on tensors without content; `meta_autocast`: their mixed precision.
"""
