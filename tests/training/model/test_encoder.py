from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models import get_model
from torchvision.models.feature_extraction import create_feature_extractor

from sharding.errors import DataError, UsageError
from training.model.encoder import build_resnet, load_encoder

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


def prefixed(state: State) -> State:
    return {"student_embedding_model.wrapped_model._model." + key: value for key, value in state.items()}


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
        (prefixed, "carry a prefix.*encoder.pt.*exported_last.pt"),
        (
            lambda s: get_model("resnet34", weights=None).state_dict(),
            "weights of a resnet34: give --encoder-name resnet34",
        ),
        (lambda s: {"state_dict": s, "epoch": 3}, "flat state dict.*found state_dict of type dict.*exported_last.pt"),
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
