import copy
import gc
import weakref

import pytest
import torch
from fastai.vision.models.unet import DynamicUnet
from torch import nn

from training.network.encoder import load_encoder
from training.network.unet import CANVAS_PX, build_unet, count_parameters, split_parameters


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    return build_unet(load_encoder("none", "resnet18"))


def test_every_part_is_ready_to_train():
    body = load_encoder("none", "resnet18")
    before = {key: value.clone() for key, value in body.state_dict().items()}
    unet = build_unet(body)
    assert all(module.training for module in unet.modules())
    assert all(parameter.requires_grad for parameter in unet.parameters())
    assert all(torch.equal(value, before[key]) for key, value in body.state_dict().items())


@pytest.mark.parametrize("size", [(64, 96), (63, 95), (96, 64), (33, 33), (50, 130)])
def test_one_image_of_any_size_trains_every_parameter(unet, size):
    unet.zero_grad()
    output = unet(torch.randn(1, 3, *size))
    assert output.shape == (1, 1, *size)
    output.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in unet.parameters())


@pytest.mark.parametrize("size", [(63, 95), (96, 64), (160, 224), (33, 33)])
def test_the_layout_is_that_of_a_network_built_for_the_training_size(unet, size):
    direct = DynamicUnet(load_encoder("none", "resnet18"), n_out=1, img_size=size)
    shapes = [{key: value.shape for key, value in network.state_dict().items()} for network in (unet, direct)]
    assert shapes[0] == shapes[1]


@pytest.mark.slow
def test_arms_with_different_encoders_start_with_the_same_decoder():
    first, second = (build_unet(load_encoder("none", "resnet18", seed), seed=7) for seed in (1, 2))
    (encoder, decoder), (other_encoder, same_decoder) = split_parameters(first), split_parameters(second)
    assert not torch.equal(encoder[0], other_encoder[0])
    assert all(torch.equal(a, b) for a, b in zip(decoder, same_decoder, strict=True))
    different = split_parameters(build_unet(load_encoder("none", "resnet18", 1), seed=8))[1]
    assert not torch.equal(decoder[-2], different[-2])


def test_building_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    build_unet(load_encoder("none", "resnet18"))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_encoder_and_decoder_together_are_all_parameters(unet):
    encoder, decoder = split_parameters(unet)
    assert len(encoder) == 60
    assert sum(parameter.numel() for parameter in [*encoder, *decoder]) == count_parameters(unet) == 31_112_908


@pytest.mark.slow
def test_a_deep_copy_has_its_own_skips():
    unet = build_unet(load_encoder("none", "resnet18")).eval()
    image, other = torch.randn(1, 3, 64, 64), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = unet(image)
        twin = copy.deepcopy(unet)
        twin(other)
        assert torch.equal(unet(image), expected)
        del unet
        gc.collect()
        assert torch.equal(twin(image), expected)


def stock(name, seed=0):
    """fastai's own network, by the same draws."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DynamicUnet(load_encoder("none", name), n_out=1, img_size=CANVAS_PX).train()


@pytest.mark.parametrize(
    "size", [(63, 95), *(pytest.param(size, marks=pytest.mark.slow) for size in ((64, 96), (33, 130)))], ids=str
)
@pytest.mark.parametrize("mode", ["train", pytest.param("recompute", marks=pytest.mark.slow), "eval"])
@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_it_is_fastais_network_bit_for_bit(name, mode, size):
    theirs, ours = stock(name), build_unet(load_encoder("none", name))
    assert [(key, value.shape) for key, value in ours.state_dict().items()] == [
        (key, value.shape) for key, value in theirs.state_dict().items()
    ]
    ours.recompute = mode == "recompute"
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    outputs = []
    for network in (theirs, ours):
        network.train(mode != "eval")
        outputs.append([network(image) for _ in range(1 if mode == "eval" else 2)])
        sum(output.square().mean() for output in outputs[-1]).backward()
    assert {type(output) for output in outputs[1]} == {torch.Tensor}
    assert [torch.equal(*pair) for pair in zip(*outputs, strict=True)] == [True] * len(outputs[0])
    assert_same_tensors(dict(ours.named_buffers()), dict(theirs.named_buffers()))
    assert_same_tensors(*({key: value.grad for key, value in each.named_parameters()} for each in (ours, theirs)))


def assert_same_tensors(found, expected):
    assert found.keys() == expected.keys()
    assert [key for key, value in found.items() if not torch.equal(value, expected[key])] == []


@pytest.mark.slow
def test_the_last_convolution_is_computed_in_float32(unet):
    formats = []
    unet.layers[-1].register_forward_hook(lambda layer, inputs, output: formats.append((inputs[0].dtype, output.dtype)))
    unet.layers[8].register_forward_hook(lambda layer, inputs, output: formats.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert unet(torch.randn(1, 3, 64, 64)).dtype == torch.float32
    assert formats == [torch.bfloat16, (torch.float32, torch.float32)]


def test_no_activation_outlives_its_step():
    unet, kept = build_unet(load_encoder("none", "resnet18")), []
    for layer in unet.modules():
        layer.register_forward_hook(lambda layer, inputs, output: kept.append(weakref.ref(output)))
    with torch.no_grad():
        unet(torch.randn(1, 3, 64, 64))
    gc.collect()
    assert len(kept) > 60
    assert [reference for reference in kept if reference() is not None] == []
