"""A depth U-Net: encoder, network, losses, Lightning module, checkpoints, the command."""
