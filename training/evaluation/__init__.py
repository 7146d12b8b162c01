"""How good a network is, on a set at native resolution; and what it is used for: prediction of photos, export.

    checkpoint     -+
                    +- evaluate -> results: Evaluation, a JSON file in the run folder -> training.report
    set with depth -+

- `evaluate`: `depthstream evaluate`; runs a network over a set and measures each image.
- `protocol_choice`: which protocols a set and a network can be judged under, and why not.
- `results`: the metrics of each image and their means, written to and read from JSON; `evaluation_text`: as text.
- `selection`: what the best checkpoint of a run was chosen on.
- `error_colours`: the colours of an error, in TensorBoard's panels and in reports.
- `inputs`: which images `predict` was given, and what the results of each are called.
- `predict`: `depthstream predict`; the depth of image files, as numbers and as pictures.
- `export`: `depthstream export`; the network as an ONNX file, compared with the original.

The metrics themselves are in `training.metrics.image_metrics`, because the network is also validated while it trains.
"""
