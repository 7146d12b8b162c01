"""A finished set: rows to samples, and pictures of them."""
