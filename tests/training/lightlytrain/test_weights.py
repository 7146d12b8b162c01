import socket

import lightly_train
import pytest
import torch

from sharding.errors import UsageError
from training.lightlytrain.weights import check_pretrained, find_pretrained, place_of

RANKS = ("NODE_RANK", "GROUP_RANK", "SLURM_NODEID", "LOCAL_RANK", "SLURM_LOCALID", "JSM_NAMESPACE_LOCAL_RANK")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """No reports, an empty folder of models, no rank."""
    monkeypatch.setenv("LIGHTLY_TRAIN_EVENTS_DISABLED", "1")
    monkeypatch.setenv("LIGHTLY_TRAIN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("LIGHTLY_TRAIN_MODEL_CACHE_DIR", raising=False)
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def lookups(monkeypatch):
    """Hosts that this process looks for; none is found."""
    hosts = []

    def refuse(host, *arguments, **options):
        hosts.append(host)
        raise OSError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return hosts


def begin(model, out):
    """Let LightlyTrain make a model, without memory for its weights; it stops at its loggers, which come right after.

    Return whether it got there.
    """
    with torch.device("meta"), pytest.raises(Exception) as caught:  # noqa: PT011 - whatever an empty file raises
        lightly_train.pretrain(
            out=out, data=["a.jpg"], model=model, method="dino", overwrite=True, accelerator="cpu", loggers={"none": {}}
        )
    return "Unknown key: 'none'" in str(caught.value)


def check_against_lightly(model, lookups, out):
    weights = find_pretrained(model)
    if weights is not None:
        place_of(weights).unlink(missing_ok=True)  # another name of the same model was checked before
    lookups.clear()
    made = begin(model, out)
    assert made == (weights is None)
    assert bool(lookups) == (weights is not None)
    if weights is None:
        return
    lookups.clear()
    place_of(weights).parent.mkdir(parents=True, exist_ok=True)
    place_of(weights).touch()  # an empty file: it is read, and nothing fetched
    assert not begin(model, out)
    assert lookups == []


@pytest.mark.parametrize("model", ["dinov3/vits16-eupe", "edgecrafter/ecvitt", "dinov3/vitt16-notpretrained"])
def test_lightly_looks_for_weights_where_it_is_said(model, lookups, tmp_path):
    check_against_lightly(model, lookups, tmp_path / "out")


@pytest.mark.slow
def test_that_holds_for_every_model_it_lists_and_for_the_default_teachers(lookups, tmp_path):
    listed = lightly_train.list_models()
    assert len(listed) >= 63
    for model in [*listed, "dinov2/vitb14-noreg", "dinov2/vits14_pretrained", "dinov3/vits14", "dinov2_vit/vits14"]:
        check_against_lightly(model, lookups, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["NODE_RANK", "GROUP_RANK", "SLURM_NODEID"])
def test_a_node_that_has_a_rank_has_files_of_its_own(variable, monkeypatch, lookups, tmp_path):
    monkeypatch.setenv(variable, "1")
    assert place_of(find_pretrained("dinov2/vits14")).name == "1_dinov2_vits14_reg4_pretrain.pth"
    check_against_lightly("dinov2/vits14", lookups, tmp_path / "out")


@pytest.mark.parametrize(
    ("model", "file"),
    [
        ("dinov2/vitb14", "dinov2_vitb14_reg4_pretrain.pth"),
        ("dinov2/vitb14-noreg", "dinov2_vitb14_pretrain.pth"),
        ("dinov2/vitl14-tipsv2", "dinov2_vitl14_tipsv2.pt"),
        ("dinov2/vitb14-notpretrained", None),
        ("dinov2/_vittest14", None),
        ("dinov3/vith16plus", "dinov3_vith16plus_lvd1689m.pth"),
        ("dinov3/vitl16-sat493m", "dinov3_vitl16_sat493m.pth"),
        ("dinov3/vits32", "dinov3_vits16_lvd1689m.pth"),
        ("dinov3/convnext-tiny-eupe", "dinov3_convnext_tiny_eupe_lvd1689.pth"),
        ("torchvision/resnet50", None),
        ("timm/vit_tiny_patch16_224", None),
    ],
)
def test_a_model_starts_from_its_file(model, file):
    weights = find_pretrained(model)
    assert (weights and weights.file) == file


def test_what_is_published_under_another_name_is_named_by_both():
    assert "EUPE-ViT-S.pt" in find_pretrained("dinov3/vits16-eupe").source
    assert "EUPE-ConvNeXt-B.pt" in find_pretrained("dinov3/convnext-base-eupe").source


def test_the_folder_is_that_of_the_environment(monkeypatch, tmp_path):
    weights = find_pretrained("dinov3/vits16")
    assert place_of(weights).parent == tmp_path / "cache" / "models"
    monkeypatch.setenv("LIGHTLY_TRAIN_MODEL_CACHE_DIR", str(tmp_path / "own"))
    assert place_of(weights).parent == tmp_path / "own"
    monkeypatch.setenv("LIGHTLY_TRAIN_MODEL_CACHE_DIR", "")
    monkeypatch.setenv("LIGHTLY_TRAIN_CACHE_DIR", "")
    assert place_of(weights).parent == (tmp_path.home() / ".cache" / "lightly-train" / "models").resolve()


def test_missing_weights_are_told_once_a_node(monkeypatch):
    said = "--model m starts .* fetch dinov3_vits16_lvd1689m.pth .DINOv3 of Meta. and put it at .*; or wait"
    with pytest.raises(UsageError, match=said):
        check_pretrained("dinov3/vits16", "--model m", "wait")
    monkeypatch.setenv("LOCAL_RANK", "1")  # the first rank of the node has checked, and ends all
    check_pretrained("dinov3/vits16", "--model m", "wait")
    monkeypatch.setenv("LOCAL_RANK", "0")
    place = place_of(find_pretrained("dinov3/vits16"))
    place.parent.mkdir(parents=True)
    place.touch()
    check_pretrained("dinov3/vits16", "--model m", "wait")
