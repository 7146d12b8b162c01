import json
import os
import shutil
from dataclasses import asdict

import pytest

from sharding.cli import main as run_program
from sharding.errors import UsageError
from training.commands import COMMANDS
from training.config import ProfileConfig
from training.loading.augment import PairedAugment
from training.profiling.profile import figures, run, speed_up
from training.profiling.stages import STAGES
from training.profiling.stopwatch import Timing

SMALL = {"height": 48, "width": 64}


@pytest.fixture(scope="module")
def outcome(diode_sets):
    return run(ProfileConfig(set=diode_sets[1].url, samples=8, repeats=2, num_workers=2, **SMALL))


def test_figures_follow_from_the_timing():
    chain = Timing(samples=10, bytes=0, seconds=(4.0, 5.0, 9.0))
    timing = Timing(samples=10, bytes=3_000_000, seconds=(1.0, 3.0, 2.0), cpu_seconds=(1.0, 1.0, 1.0))
    assert figures(timing, chain, "payload") == {
        "samples": 10,
        "samples_per_s": 5.0,
        "mb_per_s": 1.5,
        "bytes_are": "payload",
        "ms_per_sample": 200.0,
        "ms_per_sample_min": 100.0,
        "ms_per_sample_max": 300.0,
        "cpu_share": 0.5,
        "share": 0.4,
    }


def test_the_speed_up_compares_turn_with_turn():
    alone = Timing(samples=5, bytes=0, seconds=(4.0, 8.0, 6.0))
    workers = Timing(samples=5, bytes=0, seconds=(2.0, 8.0, 2.0))
    assert speed_up(alone, workers) == pytest.approx({"median": 2.0, "min": 1.0, "max": 3.0})


def test_the_json_holds_every_documented_key(outcome, diode_sets):
    data = json.loads(json.dumps(outcome.data))
    assert data.keys() == {
        "set", "name", "identity", "where", "samples", "parts", "view_px", "view", "batch_size", "repeats",
        "num_workers", "stages", "chain", "cold", "transfer", "requests_per_sample", "workers", "consumer",
        "rest_share", "verdict", "notes", "machine",
    }  # fmt: skip
    copying = {"to_tensors", "collate"}  # stages of images alone
    assert list(data["stages"]) == [stage for stage in STAGES if stage not in copying]
    assert data["identity"] == diode_sets[1].manifest.identity
    assert data["view_px"] == [48, 64]
    assert data["view"] == json.loads(json.dumps(asdict(PairedAugment(height=48, width=64))))
    assert data["batch_size"] == 8
    assert {one["samples"] for one in (*data["stages"].values(), data["chain"])} == {8}
    assert data["workers"]["samples"] == data["consumer"]["samples"] == 8 * 8  # 4 batches for each of 2 workers
    assert data["consumer"]["cpu_share"] is data["consumer"]["share"] is None
    assert data["consumer"]["bytes_are"] == "decoded"
    assert data["machine"]["cpus"] == len(os.sched_getaffinity(0))
    assert data["workers"]["ratio"]["min"] <= data["workers"]["ratio"]["median"] <= data["workers"]["ratio"]["max"]


def test_every_figure_is_positive_and_within_its_spread(outcome):
    whole = [outcome.data[name] for name in ("chain", "workers", "consumer")]
    for one in (*outcome.data["stages"].values(), *whole):
        assert one["samples_per_s"] > 0
        assert one["mb_per_s"] > 0
        assert one["ms_per_sample_min"] <= one["ms_per_sample"] <= one["ms_per_sample_max"]


def test_shares_and_rest_make_the_whole(outcome):
    data = outcome.data
    assert sum(one["share"] for one in data["stages"].values()) + data["rest_share"] == pytest.approx(1)
    assert data["chain"]["share"] == 1
    largest = max(data["stages"], key=lambda stage: data["stages"][stage]["share"])
    assert data["verdict"]["stage"] in (largest, "consumer")  # of such small views


def test_the_table_has_a_line_a_stage_and_ends_with_the_verdict(outcome):
    lines = outcome.text.splitlines()
    stages = ("fetch", "check (crc32c)", "inflate (zstd)", "image decode", "depth decode", "warp image", "warp depth")
    for name in (*stages, "batch", "whole chain", "2 workers", "consumer"):
        assert sum(line.startswith(f"  {name:<15} ") for line in lines) == 1, name
    assert lines[-1] == outcome.data["verdict"]["text"]
    assert any("warm page cache" in line for line in lines)


def test_json_prints_one_object(diode_sets, capsys):
    argv = [
        "profile",
        diode_sets[1].url,
        "--samples",
        "2",
        "--repeats",
        "1",
        "--num-workers",
        "0",
        "--json",
        "--height",
        "48",
    ]
    assert run_program("depthstream", "", COMMANDS, argv) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["samples"] == 2
    assert data["workers"] is data["consumer"] is None
    assert data["view_px"] == [48, 768]


def test_a_subset_is_measured_alone(diode_sets):
    where = "scene_type == 'outdoor'"
    data = run(ProfileConfig(set=diode_sets[1].url, where=where, repeats=1, num_workers=0, **SMALL)).data
    assert data["samples"] == (diode_sets[1].index["scene_type"] == "outdoor").sum()
    assert data["where"] == where


@pytest.mark.slow
def test_a_set_behind_a_web_server_is_measured_over_the_network(diode_sets, tmp_path, range_server):
    shutil.copytree(diode_sets[1].url, tmp_path / "set")
    url = f"http://127.0.0.1:{range_server.server_address[1]}/set"
    outcome = run(ProfileConfig(set=url, samples=4, repeats=1, num_workers=1, batch_size=2, **SMALL))
    assert (outcome.data["workers"]["samples"], outcome.data["chain"]["samples"]) == (8, 4)
    assert outcome.data["notes"][0].startswith("fetch: over the network")
    assert "warm page cache" not in outcome.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"samples": 5}, "batches of 5, not of 32: --samples 5 are no more"),
        ({"samples": 100}, "batches of 8, not of 32: the set has no more samples"),
        ({"where": "scene_type == 'outdoor'"}, "not of 32: the set has no more samples that --where selects"),
        ({"samples": 8, "batch_size": 8}, None),
    ],
)
def test_a_batch_that_is_smaller_than_asked_is_told(diode_sets, options, said):
    outcome = run(ProfileConfig(set=diode_sets[1].url, repeats=1, num_workers=0, **SMALL, **options))
    found = [note for note in outcome.data["notes"] if note.startswith("batches of")]
    assert [note.endswith(said) for note in found] == ([True] if said else [])


def test_images_alone_are_told(image_set):
    outcome = run(ProfileConfig(set=image_set.url, samples=3, repeats=1, num_workers=0))
    assert outcome.data["parts"] == ["image"]
    (note,) = [note for note in outcome.data["notes"] if note.startswith("images only")]
    assert "of the size that most of them have; the views of pretraining are LightlyTrain's" in note
    assert "\n  collate " in outcome.text


def test_crops_beyond_the_images_are_told_as_by_finetune(diode_sets, capsys):
    run(ProfileConfig(set=diode_sets[1].url, samples=1, repeats=1, num_workers=0, height=65, width=64))
    assert "8 of 8 training images are smaller than the crop of 65 x 64 pixels" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("samples", 0), ("repeats", 0), ("num_workers", -1), ("batch_size", 0)])
def test_a_count_that_makes_no_sense_is_a_usage_error(option, value):
    with pytest.raises(UsageError, match=rf"--{option.replace('_', '-')}: expected a whole number.*found {value}"):
        run(ProfileConfig(set="nowhere", **{option: value}))
