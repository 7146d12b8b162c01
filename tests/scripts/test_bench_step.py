"""The ladder of a training step, small: what its rungs are, that they compute the same, and what is said if not."""

import dataclasses
import json
import math
from typing import get_args

import pytest
import torch
from bench_step import BOUNDS, Name, conclude, main
from step_bench import measure, step, timing
from step_bench.ladder import BASELINE, FED, GPU_ONLY, LADDER, Rung
from step_bench.step import Step, StepSize, count_flop
from torch.utils.flop_counter import FlopCounterMode

from training.config import FinetuneConfig
from training.finetuning.step import make_computation

LEAST = "--device cpu --encoder resnet18 --height 33 --width 48 --batch 1 --repeats 1 --quiet --json".split()
SIZE = StepSize(encoder="resnet18", height=33, width=48, batch=1)


@pytest.fixture
def few_steps(monkeypatch):
    monkeypatch.setattr(measure, "LOSS_STEPS", 2)


def test_the_program_offers_every_rung():
    assert get_args(Name) == (*LADDER, "feed")


def test_each_rung_adds_one_measure_to_an_earlier_one():
    def measures(rung: Rung):
        found = dataclasses.asdict(rung)
        return {name: found[name] for name in found.keys() - {"adds", "to", "computation"}} | found["computation"]

    names = list(LADDER)
    for name in names[1:]:
        before, after = measures(LADDER[LADDER[name].to]), measures(LADDER[name])
        assert [before[key] == after[key] for key in after].count(False) == 1, name
        assert names.index(LADDER[name].to) < names.index(name)


@pytest.mark.parametrize("kind", ["cuda", "cpu"])
def test_the_step_that_is_fed_has_the_switches_of_finetune(kind):
    rung = LADDER[FED[kind]]
    assert rung.computation == make_computation(FinetuneConfig(set="a", val="b", out="c"), kind)
    assert (rung.forward, rung.tf32, rung.product_tf32) == ("ours", True, False)


def test_formats_are_allowed_in_a_step_alone():
    def allowed():
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    before = allowed()
    found = {}
    for name in (BASELINE, *GPU_ONLY):
        with LADDER[name].formats():
            found[name] = allowed()
    assert found == {BASELINE: before, "eager_tf32": (True, True), "eager_float32": (False, False)}
    assert allowed() == before == (True, False)


def test_works_are_timed_in_turn():
    calls = []
    works = [lambda name=name: calls.append(name) for name in "ab"]
    spent = timing.time_in_turn(works, torch.device("cpu"), 3)
    assert calls == ["a", "b"] * 3
    assert [len(one.wall) == len(one.cpu) == 3 for one in spent] == [True, True]
    timing.time_in_turn(works, torch.device("cpu"), 9, enough_s=0.0)
    assert calls[6:] == ["a", "b"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["forward", "checkpoint"])
def test_the_operations_of_a_step_are_those_that_a_real_one_counts_without_recomputing(name):
    taken = Step(SIZE, LADDER[name], torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        taken()
    counted, more = count_flop(SIZE), counter.get_total_flops()
    # A second forward pass is about a third more.
    assert more == counted if name == "forward" else 1.25 < more / counted < 1.4


@pytest.mark.slow
def test_our_forward_pass_has_the_losses_of_fastais(few_steps, capsys):
    assert main([*LEAST, "--only", "forward", "eager_tf32", "--profile"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = found["rungs"]
    assert rows.keys() == {"eager", "forward", "eager_tf32"}
    assert rows["eager_tf32"] is found["feed"] is found["feed_over_constant"] is None
    assert rows["eager"]["losses"] == rows["forward"]["losses"]
    assert len(set(rows["eager"]["losses"])) == measure.LOSS_STEPS  # it learns
    assert rows["forward"]["loss_difference"] == 0
    assert rows["eager"]["over_eager"] == 1
    assert rows["forward"]["peak_bytes"] is None
    assert rows["forward"]["share_of_matmul_peak"] == pytest.approx(
        found["step_flop"] / (rows["forward"]["ms"] / 1000) / found["matmul_flops"]["float32"]
    )
    assert found["missed"] == []
    parts = rows["forward"]["profile"]
    assert any("conv" in part["name"] for part in parts)
    shares = [part["share"] for part in parts]
    assert shares == sorted(shares, reverse=True)
    assert 0.5 < sum(shares) <= 1


@pytest.mark.slow
def test_other_losses_are_a_failure(few_steps, monkeypatch, capsys, tmp_path):
    from training.finetuning.finetune import init_model

    monkeypatch.setattr(step, "make_network", lambda encoder: init_model("none", encoder, seed=1))
    assert main([*LEAST, "--only", "forward", "--out", str(tmp_path / "step.json")]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["missed"] == ["forward.losses"]
    assert json.loads((tmp_path / "step.json").read_text()) == found
    assert measure.explain_losses(found["rungs"]["forward"]).startswith("losses: expected at most 1e-05 from")


@pytest.mark.parametrize(
    ("losses", "number_format", "ok"),
    [
        ([2.0, 1.0], "float32", True),
        ([2.00001, 1.0009], "float32", True),
        ([2.00003, 1.0], "float32", False),
        ([2.0, 1.002], "float32", False),
        ([2.003, 1.009], "tf32", True),
        ([2.01, 0.985], "bf16", True),
        ([2.03, 1.0], "bf16", False),
        ([2.0, math.nan], "bf16", False),
        ([math.inf, 1.0], "bf16", False),
    ],
)
def test_losses_are_compared_within_the_noise_of_their_format(losses, number_format, ok):
    found = measure.compare_losses(losses, [2.0, 1.0], number_format)
    assert found["loss_ok"] is ok
    assert (measure.explain_losses(found) == "") is ok


def test_the_conclusion_is_of_the_fastest_and_names_what_misses_its_bound():
    def row(over_eager, share):
        return {"over_eager": over_eager, "share_of_matmul_peak": share, "loss_ok": True}

    data = {"rungs": {"eager": row(1.0, 0.3), "bf16": row(2.9, 0.6), "compile": row(2.5, 0.4), "eager_tf32": None}}
    found = conclude(data | {"feed": {"feed_over_constant": 0.98}}, BOUNDS)
    assert found == {
        "fastest": "bf16", "step_over_eager": 2.9, "share_of_matmul_peak": 0.6, "feed_over_constant": 0.98,
        "missed": ["step_over_eager"],
    }  # fmt: skip
    assert conclude(data | {"feed": None}, {})["missed"] == []


@pytest.mark.slow
def test_the_whole_ladder_on_a_cpu(capsys):
    assert main("--device cpu --tiny --repeats 2 --json --quiet".split()) == 0
    found = json.loads(capsys.readouterr().out)
    rows = found["rungs"]
    assert [name for name, row in rows.items() if row is None] == list(GPU_ONLY)
    assert all(row["loss_ok"] and row["ms"] > 0 for row in rows.values() if row)
    assert rows["checkpoint"]["losses"] == rows["bf16"]["losses"]
    assert rows["bf16"]["losses"] != rows["fused"]["losses"]
    assert found["step_over_eager"] == max(row["over_eager"] for row in rows.values() if row) >= 1
    assert found["feed"]["step"] == "forward"
    assert found["feed_over_constant"] > 0
