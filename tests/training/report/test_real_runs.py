"""Runs of `finetune` itself, compared: what they record is what a comparison reads."""

import json
from pathlib import Path

import pytest

from training.config import CompareConfig, FinetuneConfig
from training.finetuning import finetune
from training.report import compare
from training.report.check import check_compare

MACHINE = {"num_workers": 0, "accelerator": "cpu", "devices": "1", "epochs": 1}
SMALL = {"encoder_name": "resnet18", "height": 40, "width": 48, "batch_size": 8, "micro_batch": "4"}


@pytest.mark.slow
def test_runs_with_held_out_scenes_are_arms_with_their_cost_and_sets(diode_sets, tmp_path: Path, monkeypatch) -> None:
    train = diode_sets[0].url
    scene = str(diode_sets[0].index["scene"].iloc[0])
    for seed in (0, 1):
        for name, flip in (("flip", 0.5), ("still", 0.0)):
            out = str(tmp_path / f"runs/{name}-{seed}")
            finetune.run(
                FinetuneConfig(set=train, holdout_scenes=scene, out=out, seed=seed, flip=flip, **SMALL, **MACHINE)
            )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    runs = tuple(sorted(map(str, (tmp_path / "runs").iterdir())))
    config = CompareConfig(runs=runs, out=str(tmp_path / "r.html"), num_workers=0, accelerator="cpu")
    check_compare(config)
    data = json.loads(json.dumps(compare.run(config).data))
    assert {name: [one["seed"] for one in arm["runs"]] for name, arm in data["arms"].items()} == {
        "flip": [0, 1],
        "still": [0, 1],
    }
    assert data["factors"] == ["flip (0.5 | 0)"]
    assert data["warnings"] == []
    assert (data["val"]["identity"], data["val"]["scenes"]) == (diode_sets[0].manifest.identity, 1)
    assert all(one["device_hours"] > 0 and one["device"] for arm in data["arms"].values() for one in arm["runs"])
    assert list(data["baselines"]) == ["constant", "row"]
    last = json.loads((tmp_path / "runs/flip-0/metrics.json").read_text())["last"]
    assert data["arms"]["flip"]["runs"][0]["metrics"]["headline"]["log10"] == pytest.approx(last["log10"], rel=1e-4)
    page = (tmp_path / "r.html").read_text()
    assert "Validation log10" in page
    assert "Some run has logged no log10" not in page
