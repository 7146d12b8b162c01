from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor
from torchvision.models import get_model
from torchvision.models.feature_extraction import create_feature_extractor

from sharding.errors import DataError, UsageError
from training.config import PretrainConfig
from training.network.encoder import build_resnet, cut_body, find_name, load_encoder, recognize
from training.runfolder import save_config

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """A whole torchvision state dict, as `pretrain` leaves it."""
    return build_resnet("resnet18", seed=1).state_dict()


def save(content: object, folder: Path) -> Path:
    file = folder / "encoder.pt"
    torch.save(content, file)
    return file


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_the_body_computes_the_features_of_the_whole_resnet(name, tmp_path):
    resnet = build_resnet(name, seed=3).eval()
    body = load_encoder(save(resnet.state_dict(), tmp_path), name).eval()
    image = torch.randn(2, 3, 63, 95)
    with torch.no_grad():
        expected = create_feature_extractor(resnet, ["layer4"])(image)["layer4"]
        assert torch.equal(body(image), expected)
    assert expected.shape == (2, {"resnet18": 512, "resnet50": 2048}[name], 2, 3)


def test_every_weight_and_statistic_is_loaded_from_a_run_folder(state, tmp_path):
    save({key: value + 1 for key, value in state.items()}, tmp_path)
    loaded = list(load_encoder(tmp_path, "resnet18").state_dict().values())
    wanted = [value + 1 for key, value in state.items() if not key.startswith("fc.")]
    assert len(loaded) == len(wanted) == 120
    assert all(torch.equal(a, b) for a, b in zip(loaded, wanted, strict=True))


@pytest.mark.parametrize("classifier", [{}, {"fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}])
def test_only_the_classifier_may_be_missing_or_different(state, classifier, tmp_path):
    body = {key: value for key, value in state.items() if not key.startswith("fc.")}
    loaded = load_encoder(save(body | classifier, tmp_path), "resnet18")
    assert torch.equal(loaded[0].weight, state["conv1.weight"])


def rename(state: State) -> State:
    return {key.replace("layer2.0.conv1", "layer2.0.convolution"): value for key, value in state.items()}


def prefixed(state: State, prefix: str = "student_embedding_model.wrapped_model._model.") -> State:
    return {prefix + key: value for key, value in state.items()}


def uncounted(state: State) -> State:
    """As PyTorch before 0.4.1 saved it."""
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (
            lambda s: {k: v for k, v in s.items() if k != "layer1.0.bn1.running_var"},
            "1 missing: layer1.0.bn1.running_var",
        ),
        (rename, "1 missing: layer2.0.conv1.weight; 1 unexpected: layer2.0.convolution.weight"),
        (lambda s: {"conv1.weight": s["conv1.weight"]}, "119 missing: bn1.weight"),
        (
            lambda s: s | {"conv1.weight": torch.zeros(64, 1, 7, 7)},
            r"conv1.weight \(64, 1, 7, 7\), expected \(64, 3, 7, 7\)",
        ),
        (
            lambda s: s | {"layer4.1.bn2.bias": torch.full((512,), torch.nan)},
            "1 not finite: layer4.1.bn2.bias. The pretr",
        ),
        (
            lambda s: {key: value for key, value in prefixed(s, "unet.").items() if ".layer1.0.conv1" not in key},
            "those of a larger network.*encoder.pt.*exported_last.pt",
        ),
        (
            lambda s: prefixed(s, "teacher.") | prefixed(s, "student."),
            "expected one encoder, found 2, with the prefixes teacher., student.; save the state dict",
        ),
        (
            lambda s: prefixed(s, "backbone.") | {"head.weight": torch.zeros(2), "head.bias": torch.zeros(2)},
            "expected the prefix backbone. on all keys, found 2 without it: head.weight, head.bias; save",
        ),
        (lambda s: prefixed(s, "module.") | s, "expected 120 keys with their shapes; 122 unexpected: module.conv1.wei"),
        (lambda s: {"model": s, "net": s}, "expected one state dict, found model, net; save the encoder's alone"),
        (lambda s: {"model": {"state_dict": s}}, "expected a flat state dict of tensors, found state_dict of type d"),
        (lambda s: {"teacher": s}, "expected a flat state dict of tensors, found teacher of type dict; a training ch"),
        (
            lambda s: {k: v for k, v in s.items() if k != "layer1.0.bn1.num_batches_tracked"},
            "1 missing: layer1.0.bn1.num_batches_tracked",
        ),
        (lambda s: uncounted(rename(s)), "21 missing: .*; 1 unexpected: layer2.0.convolution.weight"),
        (lambda s: uncounted(get_model("resnet34").state_dict()), "weights of a resnet34: give --encoder-name resn"),
        (
            lambda s: get_model("resnet34", weights=None).state_dict(),
            "weights of a resnet34: give --encoder-name resnet34",
        ),
        (lambda s: torch.zeros(3), "found a value of type Tensor"),
        (lambda s: torch.nn.Linear(1, 1), "expected a state dict of tensors.*exported_last.pt"),
    ],
)
def test_a_state_dict_that_does_not_fill_the_encoder_is_refused(
    state: State, spoil: Callable[[State], object], expected: str, tmp_path: Path
):
    file = save(spoil(dict(state)), tmp_path)
    with pytest.raises(DataError, match=expected) as error:
        load_encoder(file, "resnet18")
    assert str(file) in str(error.value)


@pytest.mark.parametrize("prefix", ["module.", "encoder.", "backbone.", "_orig_mod.", "module.model.0."])
@pytest.mark.parametrize("head", ["fc.weight", None])
def test_one_prefix_of_all_keys_is_taken_off_and_said(state, prefix, head, tmp_path, capsys):
    classifier = {} if head is None else {head: torch.zeros(3, 512)}
    file = save(prefixed(state, prefix) | classifier, tmp_path)
    assert same_body(load_encoder(file, "resnet18"), state)
    assert capsys.readouterr().err == f"{file}: its keys are read without their prefix {prefix}\n"


def test_torchvisions_own_file_of_a_resnet50_is_an_encoder(tmp_path, capsys):
    """The ImageNet arm: what `torch.save(resnet50(weights=...).state_dict(), FILE)` leaves."""
    state = torchvision.models.resnet50(weights=None).state_dict()
    loaded = load_encoder(save(state, tmp_path))
    assert capsys.readouterr().err == f"{tmp_path / 'encoder.pt'}: the keys are those of a resnet50\n"
    assert {"fc.weight", "fc.bias"} < set(state)
    assert len(loaded.state_dict()) == len(state) - 2
    assert same_body(loaded, state)


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", "net"])
def test_a_state_dict_is_taken_out_of_a_common_wrapper_and_said(state, wrapper, tmp_path, capsys):
    file = save({"epoch": 3, "optimizer": {"lr": 0.1}, wrapper: state}, tmp_path)
    assert same_body(load_encoder(file, "resnet18"), state)
    assert (
        capsys.readouterr().err == f"{file}: the state dict is its entry '{wrapper}'; its other entries are left out\n"
    )


@pytest.mark.parametrize("form", [{}, {"_use_new_zipfile_serialization": False}])
def test_a_file_without_counters_of_batches_is_accepted_and_said(state, form, tmp_path, capsys):
    file = tmp_path / "encoder.pt"
    torch.save(uncounted({key: value + 1 for key, value in state.items()}), file, **form)
    loaded = load_encoder(file, "resnet18").state_dict()
    counters = {key: value for key, value in loaded.items() if key.endswith("num_batches_tracked")}
    assert [value.item() for value in counters.values()] == [0] * 20
    assert {value.dtype for value in counters.values()} == {torch.int64}
    weights = [value for key, value in loaded.items() if key not in counters]
    wanted = [value + 1 for key, value in uncounted(state).items() if not key.startswith("fc.")]
    assert all(torch.equal(a, b) for a, b in zip(weights, wanted, strict=True))
    assert capsys.readouterr().err == (
        f"{file}: without num_batches_tracked of its 20 BatchNorms, as older PyTorch saved it; they are set to 0\n"
    )


def test_all_three_at_once_and_without_a_name(state, tmp_path, capsys):
    file = save({"state_dict": prefixed(uncounted(state), "module.")}, tmp_path)
    assert same_body(load_encoder(file), state)
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2].split()[:3] for line in said] == [
        ["the", "state", "dict"],
        ["its", "keys", "are"],
        ["the", "keys", "are"],
        ["without", "num_batches_tracked", "of"],
    ]
    assert said[2] == f"{file}: the keys are those of a resnet18"


def same_body(body: torch.nn.Module, state: State) -> bool:
    wanted = [value for key, value in state.items() if not key.startswith("fc.")]
    return all(torch.equal(a, b) for a, b in zip(body.state_dict().values(), wanted, strict=True))


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_a_network_and_its_keys_tell_which_resnet_it_is(name):
    with torch.device("meta"):
        resnet = get_model(name, weights=None)
    assert recognize(list(cut_body(resnet).parameters())) == name
    assert find_name(resnet.state_dict()) == find_name(uncounted(resnet.state_dict())) == name


def test_what_is_no_resnet_here_has_no_name(state):
    with torch.device("meta"):
        other = get_model("resnext50_32x4d", weights=None)  # the keys of a resnet50, with other shapes
    assert recognize(list(cut_body(other).parameters())) is None
    assert recognize([]) is None
    assert find_name([key for key in state if key != "bn1.bias"]) is None


def test_a_file_of_no_known_network_is_compared_with_a_resnet50(state, tmp_path):
    file = save(state | {"extra.weight": torch.zeros(1)}, tmp_path)
    with pytest.raises(DataError, match=f"{file} as resnet50: expected 318 keys"):
        load_encoder(file)


def pretrained(folder: Path, state: State, model: str) -> Path:
    """What a run of `pretrain` leaves."""
    save(state, folder)
    save_config(folder, PretrainConfig(sets=("a",), out=str(folder), model=model))
    return folder


def test_the_name_is_that_of_the_run(state, tmp_path):
    run = pretrained(tmp_path, state, "torchvision/resnet18")
    assert same_body(load_encoder(run), state)
    assert same_body(load_encoder(run, "resnet18"), state)
    with pytest.raises(UsageError) as error:
        load_encoder(run, "resnet50")
    assert str(error.value) == (
        f"--encoder-name resnet50: expected resnet18, which the run {run} pretrained; leave --encoder-name out, or "
        "give another --encoder"
    )


@pytest.mark.parametrize("model", ["torchvision/resnet152", "dinov2/resnet18", "torchvision/convnext_tiny"])
def test_a_run_of_another_model_is_refused(state, model, tmp_path):
    run = pretrained(tmp_path, state, model)
    with pytest.raises(
        UsageError, match=r"expected a ResNet of torchvision \(resnet18, .*found a run that .* " + model
    ):
        load_encoder(run)


def test_a_damaged_or_missing_file_is_named(state, tmp_path):
    with pytest.raises(DataError, match=f"expected an encoder at {tmp_path}/encoder.pt, found none"):
        load_encoder(tmp_path, "resnet18")
    file = save(state, tmp_path)
    file.write_bytes(file.read_bytes()[:10_000])
    with pytest.raises(DataError, match=f"{file}: expected a state dict"):
        load_encoder(file, "resnet18")


def test_random_weights_follow_the_seed_alone():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first, again, other = (load_encoder("none", "resnet18", seed)[0].weight for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_unknown_encoder_is_refused():
    with pytest.raises(UsageError, match="no encoder 'vit'; there are resnet18, resnet34, resnet50, resnet101"):
        load_encoder("none", "vit")


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}])
def test_an_empty_state_dict_is_called_so(content, tmp_path):
    torch.save(content, tmp_path / "encoder.pt")
    with pytest.raises(DataError, match="It is empty: "):
        load_encoder(tmp_path / "encoder.pt", "resnet18")


def test_some_missing_counters_get_advice_of_their_own(state, tmp_path):
    found = {key: value for key, value in state.items() if key != "bn1.num_batches_tracked"}
    torch.save(found, tmp_path / "encoder.pt")
    with pytest.raises(DataError, match="Its counters are damaged: leave them all out, and they are set to 0"):
        load_encoder(tmp_path / "encoder.pt", "resnet18")
