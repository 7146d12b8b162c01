"""The depth network: a U-Net on a ResNet encoder that predicts log depth, with its loss and its metrics.

    image -> shrink -> encoder -> decoder -> z = ln(depth in metres) -+-> loss per valid pixel              (training)
                       encoder.py  unet.py                            +-> enlarge, exp -> depth metrics  (validation)

- `depth_unet`: the Lightning module that holds all of the above; `hyperparameters`: what defines it besides weights.
- `encoder`: torchvision's ResNets, and strict loading of pretrained weights.
- `encoder_file`: the file of such weights, brought to torchvision's names.
- `encoder_name`: which ResNets there are, and which one a run trained.
- `unet`: fastai's decoder on such an encoder.
- `losses`: losses as sums over valid pixels; `gradient_term`: what is added for jumps of the error.
- `criterion`: the loss of a run with its parameters, and the protocol that judges it.
- `global_loss`: one mean per valid pixel from the sums of all micro-batches and ranks.
- `finite`: finds a loss that is not finite when values are logged, so that no step waits for the device.
- `float32`: turns TF32 off where numbers are compared, and mixed precision where it would round too much.
- `metrics`: abs_rel, rmse, delta1 and others, per image; `formulas`: theirs; `protocols`: which pixels are compared.
- `validation`: what an epoch's validation adds up.
- `resolution`: the resolution that the network works at: images shrunk, log depth enlarged; `depth_range`: exp, clamp.
- `inference`: a network applied to photos of any camera and size.
- `schedule`: the learning rate at a step.
- `optimizer`: AdamW, and an encoder that is frozen at first.
- `computation`, `recompute`: what makes a step faster or smaller, and nothing else.
- `cost`: operations and memory of a step, on tensors without content; `meta_autocast`: their mixed precision.
- `saved`: loading what torch saved, without running anything in it.
"""
