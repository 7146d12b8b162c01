"""The benchmark of fine-tuning's loader, in a tiny form, without the peers that are not installed."""

import json
import mmap
import os

import numpy as np
import pytest
import torch
from bench_loader import BOUNDS, find_missed, format_figures, main
from loader_bench.epochs import read_batch, run_epoch
from loader_bench.figures import RATIOS, summarize
from loader_bench.parts import Measured
from loader_bench.task import ENGINES, WAYS, Epoch, Task, peer_of

KEYS = {*BOUNDS, "cores_per_100_samples"}


def epoch(rate, cpu_ms=10.0):
    return Epoch(
        samples=100,
        wall_s=100 / rate,
        workers_s=0.09 * cpu_ms,
        consumer_s=0.01 * cpu_ms,
        worker_faults=2000,
        consumer_faults=1000,
    )


def measured(epochs, missing=()):
    return Measured(
        epochs={way: turns for way, turns in epochs.items() if peer_of(way) not in missing},
        parts={"png": 20.0},
        image_bytes={"png": 1000.0, "exact": 1040.0},
        peers={},
        missing=dict.fromkeys(missing, "it is not installed"),
    )


def test_ratios_are_taken_within_a_turn_and_over_the_best_of_several():
    epochs = {way: [epoch(10), epoch(20), epoch(40)] for way in WAYS}
    epochs["exact"] = [epoch(100, cpu_ms=5), epoch(100), epoch(100)]
    epochs["torch_engine"] = [epoch(50), epoch(5), epoch(50)]
    found = summarize(measured(epochs))
    assert found["exact_over_tutorial"] == 5
    assert found["ratios"]["exact_over_tutorial"] == {"median": 5, "least": 2.5, "most": 10}
    assert found["cpu_ratios"]["exact_over_tutorial"] == {"median": 1, "least": 1, "most": 2}
    assert found["ratios"]["engine_over_best_peer"] == {"median": 2, "least": 2, "most": 5}
    assert found["consumer_ms"] == pytest.approx(1)
    assert found["faults_per_sample"] == 30
    assert found["cores_per_100_samples"] == pytest.approx(1)
    assert found["image_bytes_over_png"] == 1.04
    assert found["ways"]["exact"]["samples_s"] == {"median": 100, "least": 100, "most": 100}


def test_what_a_missing_peer_was_to_show_is_null_and_misses_no_target():
    found = summarize(measured({way: [epoch(10)] for way in WAYS}, ["mosaic"]))
    nulls = {name for name in KEYS if found[name] is None}
    assert nulls == {"over_mosaic", "engine_over_best_peer"}
    assert found["ways"]["mosaic"] is found["ways"]["mosaic_engine"] is None
    found["missed"] = find_missed(found)
    assert nulls.isdisjoint(found["missed"])
    assert "exact_over_tutorial" in found["missed"]  # 1 is less than wanted
    assert "image_bytes_over_png" not in found["missed"]
    assert "over_mosaic                          -" in format_figures(found)


def test_every_ratio_is_of_ways_that_are_measured():
    assert {way for one, others in RATIOS.values() for way in (one, *others)} <= set(WAYS)
    assert {peer_of(way) for way in ENGINES} == {None, "webdataset", "litdata", "mosaic"}


def test_the_consumer_reads_tensors_of_any_type_and_layout():
    batch = {"image": torch.ones(3, 4, 4, 3).permute(0, 3, 1, 2), "valid": torch.zeros(3, 1, dtype=torch.bool)}
    assert read_batch(batch | {"key": ["a", "b", "c"], "none": torch.empty(0)}) == 3


def test_the_consumer_is_told_from_the_workers():
    def work():
        for _ in range(2):
            child = os.fork()
            if child == 0:
                sum(range(3_000_000))
                memory = mmap.mmap(-1, 4000 * mmap.PAGESIZE)  # shared: has no huge pages
                memory[:: mmap.PAGESIZE] = bytes(4000)
                os._exit(0)
            os.waitpid(child, 0)
            yield {"image": torch.zeros(5, 1)}

    found = run_epoch(work())
    assert found.samples == 10
    assert found.workers_s > found.consumer_s  # which forks, and waits
    assert found.workers_s > 0.05
    assert found.worker_faults > 2 * 4000 > found.consumer_faults


def test_wrong_options_are_refused(tmp_path, capsys):
    assert main(["--views", "8", "--batch-size", "9"]) == 2
    assert "--views 8: expected a batch or more, which is 9" in capsys.readouterr().err
    assert main(["--photos", str(tmp_path)]) == 2
    assert "expected .jpg files, found none" in capsys.readouterr().err
    (tmp_path / "options.json").write_text('{"views": 7}')
    assert main(["--folder", str(tmp_path)]) == 2
    assert "found {'views': 7}: give a folder of its own" in capsys.readouterr().err


def test_a_folder_that_was_not_finished_is_made_anew(tmp_path):
    from loader_bench.inputs import make_once

    def fail(folder):
        folder.mkdir()
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_once(tmp_path / "made", fail)
    make_once(tmp_path / "made", lambda folder: folder.mkdir())
    make_once(tmp_path / "made", fail)  # it exists
    assert list((tmp_path / "made").iterdir()) == []


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    from loader_bench.inputs import make_inputs

    root = tmp_path_factory.mktemp("inputs")
    make_inputs(root, 6, 48, 64, None)
    return root


def task(root, way):
    return Task(way=way, root=str(root), side=48, batch_size=2, num_workers=0)


def test_the_tutorials_items_are_of_its_own_form(inputs):
    from loader_bench.tutorial import time_parts, tutorial_loader

    (batch, *more) = tutorial_loader(inputs / "source", 48, 4, 0)
    assert batch["image"].shape == (4, 3, 48, 48)
    assert batch["depth"].shape == (4, 1, 48, 48)
    assert batch["image"].dtype == batch["depth"].dtype == torch.float32
    assert 0.1 < batch["image"].mean() < 0.9
    assert batch["depth"].nan_to_num().max() > 1  # NaN under the mask, which the tutorial does not read
    assert [len(one["depth"]) for one in more] == [2]
    assert list(time_parts(inputs / "source", 48)) == ["png", "npy", "cat", "rotate", "crop", "flip"]


def test_the_untransformed_item_of_the_tutorial_is_the_published_view(inputs):
    from loader_bench.tutorial import TutorialDataset, list_views
    from PIL import Image

    views, items = list_views(inputs / "source"), TutorialDataset(inputs / "source", lambda both: both)
    assert len(views) == len(items) == 6
    for (image, depth), item in zip(views, (items[number] for number in range(6)), strict=True):
        levels = np.asarray(Image.open(image)).transpose(2, 0, 1)
        assert np.array_equal((item["image"] * 255).round().numpy(), levels)
        assert np.array_equal(item["depth"][0].numpy(), np.load(depth)[..., 0], equal_nan=True)


def test_engine_and_reference_make_the_same_view(inputs):
    from loader_bench.engine import Engine, ReferenceEngine

    ours, plain = (make(inputs / "exact", 48) for make in (Engine, ReferenceEngine))
    for row in range(len(ours)):
        one, other = ours(ours[row]), plain(plain[row])
        assert (one["depth"] != other["depth"]).float().mean() <= 0.01  # neighbours, where a point is between pixels
        assert (one["image"].short() - other["image"].short()).abs().max() <= 1
        assert one["valid"].any()


@pytest.mark.parametrize("way", ["torch_engine", "webdataset_engine", "webdataset", "litdata", "mosaic"])
def test_a_peer_hands_over_every_sample_once(inputs, way):
    from loader_bench.task import PEERS
    from loader_bench.ways import open_way, write_way

    if way in PEERS:
        pytest.importorskip(PEERS[way], exc_type=ImportError)
    write_way(task(inputs, way))
    assert open_way(task(inputs, way))().samples == 6


@pytest.mark.parametrize("way", ["tutorial", "exact", "exact_none", "compact", "compact_none"])
def test_ours_and_the_tutorials_epoch_have_every_sample(inputs, way):
    from loader_bench.ways import open_way

    assert open_way(task(inputs, way))().samples == 6


@pytest.mark.slow
def test_every_figure_is_there(capsys, tmp_path):
    small = "--views 8 --height 48 --width 64 --batch-size 2 --num-workers 1 --turns 1 --json --quiet".split()
    assert main([*small, "--peers", str(tmp_path / "python")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() >= KEYS
    assert set(found["missing"]) == {"litdata", "mosaic"}
    assert "expected a Python that runs" in found["missing"]["mosaic"]
    assert found["unknown"] == ["over_litdata", "over_mosaic", "engine_over_best_peer"]
    assert all(found[name] > 0 for name in KEYS - set(found["unknown"]))
    for way in ("exact", "limit", "reference_none", "webdataset_engine", "tutorial"):
        assert found["ways"][way]["samples_s"]["least"] > 0
