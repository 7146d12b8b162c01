"""How good a prediction is: a network or a baseline, evaluated on a set at native resolution, and prediction of photos.

    checkpoint or baseline -+
                            +- evaluate -> results: Evaluation, a JSON file in the run folder -> training.report
    set with metric depth  -+

- `evaluate`: `depthstream evaluate`; runs a predictor over a set and measures each image (baselines: in `report`).
- `results`: the metrics of each image and their means, written to and read from JSON.
- `metric_names`: which metric decides, and how metrics and protocols are named, printed and defined.
- `error_colours`: the colours of an error, in TensorBoard's panels and in reports.
- `baselines`: the two predictors that ignore the image, computed from the training depths.
- `inputs`: which images `predict` was given, and what the results of each are called.
- `predict`: `depthstream predict`; the depth of image files, as numbers and as pictures.
- `export`: `depthstream export`; the network as an ONNX file, compared with the original.

The metrics themselves are in `training.model.metrics`, because the network is also validated while it trains.
"""
