"""Random colour of training images, on the device: `training.loading` draws the factors, pixels change here."""

import torch
from torch import Tensor

from training.network.luma import LUMA


def change_colour(image: Tensor, colour: Tensor) -> Tensor:
    """Change brightness, contrast and saturation, as `training.loading.augment.jitter_colour` does to one image.

    With luma L(c) and its mean m over the image, a colour c becomes
    brightness * (contrast * (saturation * c + (1 - saturation) * L(c)) + (1 - contrast) * m), rounded and clipped once.

    Args:
        image: uint8 (B, 3, H, W), RGB.
        colour: float32 (B, 3), factors of brightness, contrast and saturation; 1 changes nothing.

    Returns:
        uint8 (B, 3, H, W), within a level of that function: it computes in float32, and sums in another order.
    """
    brightness, contrast, saturation = colour.float().view(-1, 3, 1, 1, 1).unbind(1)  # (B, 1, 1, 1) each
    pixels = image.float()
    weights = pixels.new_tensor(LUMA).view(1, 3, 1, 1)
    luma = (pixels * weights).sum(dim=1, keepdim=True)  # (B, 1, H, W)
    mean = luma.mean(dim=(2, 3), keepdim=True)
    mixed = torch.lerp(luma, pixels, saturation)
    changed = brightness * torch.lerp(mean, mixed, contrast)
    return changed.round().clamp(0, 255).to(torch.uint8)
