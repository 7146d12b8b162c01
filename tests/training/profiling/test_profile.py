import json
import shutil

import pytest

from sharding.cli import main as run_program
from sharding.errors import UsageError
from training.commands import COMMANDS
from training.config import ProfileConfig
from training.profiling.bottleneck import judge
from training.profiling.profile import figures, run, speed_up
from training.profiling.stages import STAGES
from training.profiling.stopwatch import Timing

EXACT, COMPACT = {"rows.npy", "planes.npy"}, {"jpg", "log16.npy"}
PNG, LOG16 = {"png", "npy"}, {"jpg", "log16.png"}  # as sets made earlier have them


@pytest.fixture(scope="module")
def outcome(diode_sets):
    return run(ProfileConfig(set=diode_sets[1].url, samples=8, repeats=2, num_workers=2))


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


@pytest.mark.parametrize("stage", STAGES)
def test_the_verdict_names_the_stage_with_the_largest_share(stage):
    shares = dict.fromkeys(STAGES, 0.05) | {stage: 0.62}
    verdict = judge(shares, PNG)
    assert (verdict["stage"], verdict["share"]) == (stage, 0.62)
    assert "62 % of a worker's time" in verdict["text"]
    assert "\n" not in verdict["text"]


@pytest.mark.parametrize(
    ("stage", "extensions", "preset"),
    [
        ("decode_image", [PNG], "compact"),
        ("decode_depth", [LOG16], "byte planes"),
        ("inflate", [PNG, EXACT, COMPACT], "--compression none"),
    ],
)
def test_another_encoding_is_advised_only_if_the_set_has_it_not_yet(stage, extensions, preset):
    for found in (PNG, LOG16, EXACT, COMPACT):
        assert (preset in judge({stage: 0.5}, found)["text"]) == (found in extensions)


def test_the_json_holds_every_documented_key(outcome, diode_sets):
    data = json.loads(json.dumps(outcome.data))
    assert data.keys() == {
        "set", "name", "identity", "where", "samples", "parts", "view_px", "batch_size", "repeats", "num_workers",
        "stages", "chain", "cold", "transfer", "requests_per_sample", "workers", "rest_share", "verdict", "notes",
        "machine",
    }  # fmt: skip
    copying = {"to_tensors", "collate"}  # stages of images alone
    assert list(data["stages"]) == [stage for stage in STAGES if stage not in copying]
    assert data["identity"] == diode_sets[1].manifest.identity
    assert data["view_px"] == [64, 96]
    assert {one["samples"] for one in (*data["stages"].values(), data["chain"], data["workers"])} == {8}
    assert data["workers"]["ratio"]["min"] <= data["workers"]["ratio"]["median"] <= data["workers"]["ratio"]["max"]


def test_every_figure_is_positive_and_within_its_spread(outcome):
    for one in (*outcome.data["stages"].values(), outcome.data["chain"], outcome.data["workers"]):
        assert one["samples_per_s"] > 0
        assert one["mb_per_s"] > 0
        assert one["ms_per_sample_min"] <= one["ms_per_sample"] <= one["ms_per_sample_max"]


def test_shares_and_rest_make_the_whole(outcome):
    data = outcome.data
    assert sum(one["share"] for one in data["stages"].values()) + data["rest_share"] == pytest.approx(1)
    assert data["chain"]["share"] == 1
    largest = max(data["stages"], key=lambda stage: data["stages"][stage]["share"])
    assert data["verdict"]["stage"] == largest


def test_the_table_has_a_line_a_stage_and_ends_with_the_verdict(outcome):
    lines = outcome.text.splitlines()
    for name in ("fetch", "check (crc32c)", "inflate (zstd)", "image decode", "depth decode", "warp", "whole chain"):
        assert sum(line.startswith(f"  {name} ") for line in lines) == 1
    assert lines[-1] == outcome.data["verdict"]["text"]
    assert any("warm page cache" in line for line in lines)


def test_json_prints_one_object(diode_sets, capsys):
    argv = ["profile", diode_sets[1].url, "--samples", "2", "--repeats", "1", "--num-workers", "0", "--json"]
    assert run_program("depthstream", "", COMMANDS, argv) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["samples"] == 2
    assert data["workers"] is None


def test_a_subset_is_measured_alone(diode_sets):
    where = "scene_type == 'outdoor'"
    data = run(ProfileConfig(set=diode_sets[1].url, where=where, repeats=1, num_workers=0)).data
    assert data["samples"] == (diode_sets[1].index["scene_type"] == "outdoor").sum()
    assert data["where"] == where


def test_a_set_behind_a_web_server_is_measured_over_the_network(diode_sets, tmp_path, range_server):
    shutil.copytree(diode_sets[1].url, tmp_path / "set")
    url = f"http://127.0.0.1:{range_server.server_address[1]}/set"
    outcome = run(ProfileConfig(set=url, samples=4, repeats=1, num_workers=1))
    assert outcome.data["workers"]["samples"] == outcome.data["chain"]["samples"] == 4
    assert outcome.data["notes"][0].startswith("fetch: over the network")
    assert "warm page cache" not in outcome.text


@pytest.mark.parametrize(("option", "value"), [("samples", 0), ("repeats", 0), ("num_workers", -1)])
def test_a_count_that_makes_no_sense_is_a_usage_error(option, value):
    with pytest.raises(UsageError, match=rf"--{option.replace('_', '-')}: expected \d or more, found {value}"):
        run(ProfileConfig(set="nowhere", **{option: value}))
