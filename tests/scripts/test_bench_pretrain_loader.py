"""The benchmark of pretraining's loader, in a tiny form, and the count of different batches."""

import json

import numpy as np
import pytest
from bench_pretrain_loader import main
from measure_randomness import main as measure_randomness
from PIL import Image
from pretrain_bench.clocks import Epoch
from pretrain_bench.parts import RATIOS, summarize


def epoch(worker_ms, images=10):
    return Epoch(
        images=images, worker_s=worker_ms * images / 1000, main_s=0.1, wall_s=2.0, consumed=2 * images, batches=5
    )


def test_ratios_are_taken_within_a_round():
    names = ["folder", "same_bytes", "max_side_1024", "gpu_views", "gpu_views_max_side_512", "limit", "floor"]
    epochs = {name: [epoch(10.0), epoch(20.0), epoch(40.0)] for name in names}
    epochs["same_bytes"] = [epoch(5.0), epoch(10.0), epoch(40.0)]
    found = summarize(epochs)
    assert found["same_bytes_over_folder"] == found["same_bytes_over_limit"] == 2
    assert found["ratios"]["same_bytes_over_folder"] == {"median": 2, "least": 1, "most": 2}
    assert found["max_side_1024_over_folder"] == 1
    assert found["cpu_ms"]["folder"] == {"median": 20, "least": 10, "most": 40}
    assert found["over_floor"]["same_bytes"] == 0.5
    assert found["wall_images_s"]["folder"]["median"] == 10
    assert found["main_ms_a_batch"]["folder"]["median"] == 20
    assert found.keys() >= RATIOS.keys()


def test_photographs_of_another_kind_are_refused(tmp_path, capsys):
    assert main(["--photos", str(tmp_path), "--images", "8"]) == 2
    assert "expected .jpg files, found none" in capsys.readouterr().err
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(tmp_path / "black.jpg")
    assert main(["--photos", str(tmp_path), "--images", "8"]) == 2
    assert "expected images of 250 to 400 kB" in capsys.readouterr().err


@pytest.mark.slow
def test_every_loader_is_measured(capsys):
    assert main("--images 16 --batch-size 2 --rounds 1 --method simclr --json --quiet".split()) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["simclr"].keys() >= {*RATIOS, "ratios", "cpu_ms", "over_floor"}
    assert all(found["simclr"][name] > 0 for name in RATIOS)
    assert 250_000 <= found["image_bytes"]["original"] <= 400_000
    assert 0 < found["floor_ms"] < found["simclr"]["cpu_ms"]["limit"]["median"]
    assert found["simclr"]["gpu_views_over_folder"] > 1


@pytest.mark.slow
def test_batches_of_ours_are_all_different(capsys):
    assert measure_randomness(["--images", "16", "--json", "--quiet"]) == 0
    for row in json.loads(capsys.readouterr().out)["rows"]:
        assert row["ours"] == row["ours_gpu_views"] == row["batches"] == 8
        assert row["stock"] == (8 if row["workers"] == 0 else 8 // 2 // row["workers"])
