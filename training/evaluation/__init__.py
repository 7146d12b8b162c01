"""How good a prediction is: a network or a baseline, evaluated on a set at native resolution, and prediction of photos.

    checkpoint or baseline -+
                            +- evaluate -> results: Evaluation, a JSON file in the run folder -> training.report
    set with metric depth  -+

- `evaluate`: `depthstream evaluate`; runs a network over a set and measures each image.
- `protocol_choice`: which protocols a set and a network can be judged under, and why not.
- `results`: the metrics of each image and their means, written to and read from JSON; `evaluation_text`: as text.
- `metric_names`: which metric decides, and how metrics and protocols are named, printed and defined.
- `selection`: what the best checkpoint of a run was chosen on.
- `error_colours`: the colours of an error, in TensorBoard's panels and in reports.
- `baselines`: the two predictors that ignore the image, each fitted for each metric to the training depths.
- `depth_sums`, `fits`: one pass over these depths, and the profiles that are best by each metric.
- `baseline_metrics`: the metrics of both on a set.
- `inputs`: which images `predict` was given, and what the results of each are called.
- `predict`: `depthstream predict`; the depth of image files, as numbers and as pictures.
- `export`: `depthstream export`; the network as an ONNX file, compared with the original.

The metrics themselves are in `training.model.metrics`, because the network is also validated while it trains.
"""
