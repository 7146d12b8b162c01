"""The micro-batch is halved until a step fits; a trial leaves nothing of itself."""

import copy

import pytest
import torch

from sharding.errors import DataError
from training.config import FinetuneConfig
from training.finetuning.batches import BatchSplit
from training.finetuning.finetune import init_model
from training.finetuning.micro_batch import choose_split, find_fitting, take_step
from training.launch.devices import Placement

CPU = torch.device("cpu")


def split_of(micro_batch, accumulation=1):
    return BatchSplit(world=1, micro_batch=micro_batch, accumulation=accumulation)


def memory_for(samples, tried):
    """A device with memory for some samples, and for no more."""

    def attempt(size):
        tried.append(size)
        if size > samples:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    return attempt


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "samples", "expected"),
    [(split_of(8), 8, [8]), (split_of(8), 3, [8, 4, 2]), (split_of(15, 2), 5, [15, 6, 3]), (split_of(7), 1, [7, 1])],
)
def test_it_is_halved_to_divisors_of_the_share_until_it_fits(first, samples, expected):
    tried: list[int] = []
    assert find_fitting(first, memory_for(samples, tried), int) == expected[-1]
    assert tried == expected


def test_what_does_not_fit_another_rank_is_too_much_for_all():
    others = iter([0, 1])  # the other rank fails once
    assert find_fitting(split_of(8), memory_for(8, []), lambda own: min(own, next(others))) == 4


def test_a_single_sample_that_does_not_fit_ends_with_what_to_do():
    with pytest.raises(
        DataError, match=r"a step of a single sample does not fit.*--checkpoint-activations.*bf16-mixed"
    ):
        find_fitting(split_of(2), memory_for(0, []), int)


def test_errors_that_are_not_about_memory_are_not_hidden():
    def attempt(size):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        find_fitting(split_of(2), attempt, int)


@pytest.fixture(scope="module")
def unet():
    return init_model("none", "resnet18")


def config_of(**options):
    settled = {"encoder_name": "resnet18", "loss": "silog"}
    return FinetuneConfig(set="a", val="b", out="c", height=40, width=48, batch_size=4, **settled, **options)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="plain"),
        pytest.param(
            {"checkpoint_activations": True, "channels_last": True, "precision": "bf16-mixed"},
            id="everything",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_trial_computes_a_step_and_leaves_no_trace(unet, options):
    before, generator, computed = copy.deepcopy(unet.state_dict()), torch.get_rng_state(), []
    strides = [value.stride() for value in unet.state_dict().values()]
    hook = unet.layers[4].conv1.register_full_backward_hook(lambda layer, into, out: computed.append(out[0].shape[0]))
    take_step(config_of(**options), unet, CPU, 2, 3)
    hook.remove()
    assert computed == [3]
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())
    assert [value.stride() for value in unet.state_dict().values()] == strides
    assert [name for name, one in unet.named_parameters() if one.grad is not None or not one.requires_grad] == []
    assert torch.equal(torch.get_rng_state(), generator)
    assert unet.recompute is False


def test_nothing_is_tried_on_a_cpu(unet):
    def refuse(*inputs):
        raise AssertionError("computed")

    hook = unet.register_forward_pre_hook(refuse)
    assert choose_split(config_of(), unet, Placement((CPU,))) == split_of(4)
    hook.remove()
