"""How good a prediction is: metrics, baselines, evaluation of a run, prediction of a photo."""
