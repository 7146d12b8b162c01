"""The network: fastai's U-Net decoder on a ResNet encoder, and how it is computed.

- `unet`: fastai's decoder on torchvision's encoder, with a forward pass of our own.
- `encoder`: torchvision's ResNets, and strict loading of pretrained weights; `encoder_file`: the file of such weights,
  brought to torchvision's names; `encoder_name`: which ResNets there are, and which one a run trained.
- `saved`: loading what torch saved, without running anything in it.
- `resolution`: the resolution that the network works at: images shrunk, log depth enlarged.
- `computation`, `recompute`: what makes a step faster or smaller, and nothing else.
- `colour`, `luma`: random colour of training images.
- `float32`: turns TF32 off where numbers are compared, and mixed precision where it would round too much.
"""
