"""What is minimised: sums over valid pixels that add up over micro-batches and ranks, then one mean.

- `pixel_losses`: the losses, each a sum over the valid pixels of a batch and their number.
- `gradient_term`: what is added for jumps of the error.
- `global_loss`: one mean per valid pixel from the sums of all micro-batches and ranks.
- `finite`: finds a loss that is not finite when values are logged, so that no step waits for the device.
"""
