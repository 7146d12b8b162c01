"""What a depth network is trained on, and what it is validated on while it trains; decided from indexes, without torch.

    --where, --val-where --.
    --holdout-scenes -------+- subsets -> training and validation subset -> finetuning.depth_data (loaders)
    the sets' indexes ------'

- `subsets`: both subsets, from the options: the only place that decides them.
- `holdout`: scenes that are taken out of the training set.
- `usable`: the views that have depth, and whether validation may count one.
- `overlap`: scenes and samples that two sets share.
- `description`: how metrics.json describes them.
- `camera`: the focal length that the network learns for; `crops`: images that are smaller than the crop.
- `views`: the augmentation of the training views, from the options.
"""
