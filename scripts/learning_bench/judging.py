"""What a run, and what baselines fitted for each metric, reach on scenes that were not trained on."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learning_bench.world import OUTDOOR, World
from training.run_files import file_sha256
from training.runfolder import METRICS_NAME, find_checkpoint

if TYPE_CHECKING:
    from training.model.depth_unet import DepthUnet

PROTOCOL = "headline"


def judge(world: World, folder: Path, network: "type[DepthUnet]") -> dict[str, Any]:
    """Evaluate the last checkpoint of a run.

    Returns:
        Means of the metrics over images under the headline protocol, seconds of training, and the revision.
    """
    from sharding.reading.shard_set import ShardSet
    from training.evaluation.evaluate import NamedPredictor, evaluate_model

    file = find_checkpoint(folder, "last")
    named = NamedPredictor(predictor=network.load(file), name=folder.name, fingerprint=file_sha256(file))
    evaluation = evaluate_model(named, ShardSet(world.val, OUTDOOR))
    trained = json.loads((folder / METRICS_NAME).read_text())
    return {
        "metrics": evaluation.mean(PROTOCOL),
        "edge_cleaned": evaluation.mean("edge_cleaned"),
        "images": evaluation.counted(PROTOCOL),
        "seconds": trained["seconds"],
        "epochs": trained["epochs"],
        "revision": trained["revision"],
    }


def judge_baselines(world: World, folder: Path) -> dict[str, Any]:
    """Fit constant and row baselines on the training set, and evaluate them: means of the metrics by name."""
    from sharding.reading.shard_set import ShardSet
    from training.baselines.fitted import load_or_fit
    from training.baselines.measured import evaluate_baselines

    fitted = load_or_fit(ShardSet(world.train, OUTDOOR), folder.with_suffix(".json"))
    found = evaluate_baselines(fitted, ShardSet(world.val, OUTDOOR))
    return {name: evaluation.mean(PROTOCOL) for name, evaluation in found.items()}
