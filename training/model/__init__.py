"""The depth network: encoder, U-Net, losses, metrics, the Lightning module."""
