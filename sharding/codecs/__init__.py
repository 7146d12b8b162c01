"""Image, depth and valid, to bytes and back."""
