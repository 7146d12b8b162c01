from dataclasses import replace

import pytest
import torch

from training.config import FinetuneConfig
from training.finetuning.batches import BatchSplit
from training.finetuning.memory import StepMemory, cost_of, describe_cost
from training.launch.devices import Placement
from training.launch.memory import least_free_memory
from training.model.cost import compute_cost

SMALL = FinetuneConfig(set="a", val="b", out="c", encoder_name="resnet18", height=64, width=96)
MICRO = BatchSplit(world=1, micro_batch=4, accumulation=8)


@pytest.mark.parametrize(("gigabytes", "expected"), [(24, 2), (80, 8), (4, 0)])
def test_automatic_micro_batches_of_the_tutorial_fit_the_device(gigabytes, expected):
    need = StepMemory.estimate(compute_cost("resnet50", 768, 768, "32-true", recompute=False), 1)
    assert need.fitting(gigabytes * 10**9) == expected
    assert (need.fitting(need.least + 2), need.fitting(need.least - 100)) == (1, 0)


def test_several_ranks_and_the_update_take_memory_too():
    alone, several = (StepMemory.estimate(cost_of(SMALL), world) for world in (1, 2))
    assert several.state - alone.state == 4 * 31_112_908
    # Activations of a small image are less than what the update takes.
    assert alone.sample < alone.update
    assert alone.fitting(alone.least + 2) == alone.update // alone.sample


def test_a_cpu_sets_no_limit():
    assert least_free_memory(Placement((torch.device("cpu"),))) is None
    assert StepMemory.estimate(cost_of(SMALL), 1).fitting(None) >= 10**6


def test_precision_and_checkpointing_take_less_of_an_image_and_copies_of_weights_once():
    large = replace(SMALL, height=768, width=768)
    plain, lesser = (
        StepMemory.estimate(cost_of(one), 1)
        for one in (large, replace(large, precision="bf16-mixed", checkpoint_activations=True))
    )
    assert lesser.sample < 0.7 * plain.sample
    assert plain.state < lesser.state < plain.state + 2 * 31_112_908


def test_what_a_run_needs_is_said_with_the_options_that_need_less():
    need = StepMemory.estimate(cost_of(SMALL), 1)
    said = describe_cost(SMALL, MICRO)
    assert f"{32 * cost_of(SMALL).step_flop / 1e9:,.0f} GFLOP" in said
    assert f"micro-batch of 4: {need.total(4) / 1e9:.1f} GB (32-true); " in said
    assert said.count("GB with") == 3
    assert "with --checkpoint-activations" in said
    assert "with --precision bf16-mixed" in said


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_options_that_a_run_has_are_not_recommended(precision):
    said = describe_cost(replace(SMALL, precision=precision, checkpoint_activations=True), MICRO)
    assert said.endswith(f"GB ({precision}, --checkpoint-activations)")
    said = describe_cost(replace(SMALL, precision=precision), MICRO)
    assert said.count("GB with") == 1
