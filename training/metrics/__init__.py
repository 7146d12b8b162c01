"""How depth is judged: metrics per image, under protocols that tell which pixels are compared.

- `image_metrics`: abs_rel, rmse, delta1 and others, per image, and their sums over batches and ranks.
- `formulas`: theirs.
- `kinds`: what depth means in a set, and which views have none.
- `protocols`: which pixels are compared, and how.
- `names`: which metric decides, and how metrics and protocols are named, printed and defined.
"""
