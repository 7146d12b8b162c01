"""What `toy_verdicts.py` holds against the truth, and the arm that it makes of another."""

import pytest
import torch
from toy_verdicts import bring_nearer, find_missed

from training.model.depth_unet import DepthUnet
from training.runfolder import checkpoint_path


def verdicts(**relations):
    names = {"aa": "one:other", "slow": "slow:one", "near": "near:one"}
    kinds = ("these_scenes", "scenes_like_these")
    return {names[name]: {kind: {"relation": relation} for kind in kinds} for name, relation in relations.items()}


def test_true_verdicts_miss_nothing():
    assert find_missed(verdicts(aa="undecided", slow="worse", near="worse")) == []
    assert find_missed(verdicts(aa="equivalent", slow="worse", near="undecided")) == []


@pytest.mark.parametrize(
    ("wrong", "misses"),
    [({"aa": "better"}, 2), ({"aa": "worse"}, 2), ({"slow": "undecided"}, 1), ({"near": "better"}, 2)],
)
def test_a_wrong_verdict_is_named(wrong, misses):
    found = find_missed(verdicts(**{"aa": "undecided", "slow": "worse", "near": "worse"} | wrong))
    assert len(found) == misses
    assert all(next(iter(wrong.values())) in one for one in found)


@pytest.mark.slow
def test_the_nearer_arm_predicts_four_fifths_of_the_depth(tmp_path):
    run = tmp_path / "one-0"
    model = DepthUnet(hyperparameters={"encoder_name": "resnet18"})
    file = checkpoint_path(run, "last")
    file.parent.mkdir(parents=True)
    torch.save({"hyper_parameters": dict(model.hparams), "state_dict": model.state_dict()}, file)
    (run / "evaluation-val-last.json").write_text("of the other checkpoint")
    near = bring_nearer(run, tmp_path / "near-0")
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    ratio = DepthUnet.load(near).predict_depth(image) / DepthUnet.load(run).predict_depth(image)
    assert torch.allclose(ratio, torch.full_like(ratio, 0.8), rtol=1e-5)
    assert not (near / "evaluation-val-last.json").exists()
