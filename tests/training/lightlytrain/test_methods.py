import os

import pytest
import torch

from sharding.errors import UsageError
from training.config import PretrainConfig
from training.lightlytrain.methods import check_images, check_method, patch_px, teacher_args

DISTILLATIONS = ("distillation", "distillationv1", "distillationv2", "distillationv3")


@pytest.fixture(autouse=True)
def no_weights(monkeypatch, tmp_path):
    """No pretrained weights on this machine, and no rank."""
    monkeypatch.setenv("LIGHTLY_TRAIN_MODEL_CACHE_DIR", str(tmp_path / "models"))
    for name in [name for name in os.environ if name.endswith("RANK")]:
        monkeypatch.delenv(name)


@pytest.fixture
def teacher_file(tmp_path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "teacher.pt")
    return str(tmp_path / "teacher.pt")


def config(**options):
    return PretrainConfig(sets=("set",), out="run", **options)


@pytest.mark.parametrize("method", ["dinov2", "dinov31"])
@pytest.mark.parametrize(
    "model", ["torchvision/resnet50", "dinov3/convnext-tiny-notpretrained", "edgecrafter/ecvitt", "timm/vit_tiny"]
)
def test_methods_of_transformers_refuse_other_models_with_the_reason(method, model):
    with pytest.raises(
        UsageError, match=f"{method} masks patches and trains LightlyTrain's own vision transf.*{model}"
    ):
        check_method(config(method=method, model=model), 1)


@pytest.mark.parametrize(
    "model",
    ["dinov2/_vittest14", "dinov2/vits14-notpretrained", "dinov3/vits16-notpretrained", "dinov2_vit/_vittest14"],
)
def test_methods_of_transformers_take_lightlys_own(model):
    check_method(config(method="dinov2", model=model), 1)


@pytest.mark.parametrize("method", ["simclr", "densecl", "dinov2", "dinov31"])
def test_a_batch_of_one_image_a_device_is_refused_where_images_are_compared(method):
    model = "dinov2/_vittest14" if method.startswith("dinov") else "torchvision/resnet50"
    for batch_size, world in ((1, 1), (4, 4)):
        with pytest.raises(
            UsageError, match=f"{method} compares the images of a batch .* at least 2 .*, found 1; give"
        ):
            check_method(config(method=method, model=model, batch_size=batch_size), world)
    check_method(config(method=method, model=model, batch_size=2), 1)
    check_method(config(method=method, model=model, batch_size=2), None)


def test_a_batch_of_one_image_is_left_to_methods_that_compare_views():
    check_images("dino", 1)
    for method in DISTILLATIONS:
        check_images(method, 1)


@pytest.mark.parametrize(
    ("method", "file"),
    [
        ("distillation", "dinov3_vitb16_lvd1689m.pth"),
        ("distillationv3", "dinov3_vitb16_lvd1689m.pth"),
        ("distillationv1", "dinov2_vitb14_pretrain.pth"),
        ("distillationv2", "dinov2_vitb14_pretrain.pth"),
    ],
)
def test_distillation_without_a_teacher_says_what_to_fetch_and_where_to_put_it(method, file, tmp_path):
    place = tmp_path / "models" / file
    with pytest.raises(
        UsageError, match=f"{method}: .*fetch {file} .*put it at {place}; or .*--teacher NAME --teacher-w"
    ):
        check_method(config(method=method), 1)
    place.parent.mkdir()
    place.touch()
    check_method(config(method=method), 1)


@pytest.mark.parametrize("method", DISTILLATIONS)
def test_a_teacher_with_a_file_of_its_weights_is_enough(method, teacher_file):
    options = config(method=method, teacher="dinov2/_vittest14", teacher_weights=teacher_file)
    check_method(options, 1)
    assert teacher_args(options) == {"teacher": "dinov2/_vittest14", "teacher_weights": teacher_file}


def test_what_cannot_teach_is_refused(teacher_file, tmp_path):
    def refused(said, **options):
        with pytest.raises(UsageError, match=said):
            check_method(config(**options), 1)

    refused("torchvision/resnet50 starts from random weights", method="distillation", teacher="torchvision/resnet50")
    refused("vits14-notpretrained starts from ran", method="distillationv1", teacher="dinov2/vits14-notpretrained")
    wrong = {"teacher": "torchvision/resnet50", "teacher_weights": teacher_file}
    refused(r"expected a model of dinov2/ or dinov3/ for --method distillationv2", method="distillationv2", **wrong)
    check_method(config(method="distillation", **wrong), 1)
    refused("--teacher: --method dino has no teacher", method="dino", teacher="dinov3/vitb16")
    refused("--teacher-weights: --method simclr has no", method="simclr", teacher_weights=teacher_file)
    missing = {"teacher": "dinov2/_vittest14", "teacher_weights": str(tmp_path / "none.pt")}
    refused("none.pt: expected a regular file", method="distillation", **missing)
    (tmp_path / "text.pt").write_text("no weights")
    refused("text.pt: expected a state dict", method="distillation", teacher_weights=str(tmp_path / "text.pt"))


def test_these_two_methods_load_the_teachers_own_weights_before_the_file(teacher_file):
    named = {"teacher": "dinov2/vits14", "teacher_weights": teacher_file}
    check_method(config(method="distillation", **named), 1)
    with pytest.raises(UsageError, match=r"fetch dinov2_vits14_reg4_pretrain\.pth"):
        check_method(config(method="distillationv1", **named), 1)


def test_a_model_that_starts_from_weights_that_are_not_here_is_refused():
    with pytest.raises(UsageError, match=r"--model dinov3/vits16 starts from .* fetch dinov3_vits16_lvd1689m\.pth"):
        check_method(config(model="dinov3/vits16"), 1)


def test_images_must_be_of_whole_patches(teacher_file):
    with pytest.raises(UsageError, match=r"--image-size 100: --model dinov2/_vittest14 .* 14 pixels; .* such as 112"):
        check_method(config(model="dinov2/_vittest14", image_size=100), 1)
    taught = {"method": "distillation", "teacher": "dinov2/_vittest14", "teacher_weights": teacher_file}
    with pytest.raises(UsageError, match="--image-size 100: --teacher dinov2/_vittest14"):
        check_method(config(image_size=100, **taught), 1)
    check_method(config(model="dinov3/vits16-notpretrained", image_size=100), 1)


@pytest.mark.parametrize(
    ("model", "patch"),
    [
        ("dinov2/vits14", 14),
        ("dinov2/vitb14_pretrained", 14),
        ("dinov2/vitso400m14-tipsv2", 14),
        ("dinov2/vitl16-noreg-notpretrained", 16),
        ("dinov3/vits16", 1),
        ("torchvision/resnet50", 1),
    ],
)
def test_the_patch_is_in_the_name(model, patch):
    assert patch_px(model) == patch


def test_local_views_must_be_of_whole_patches_too():
    model = {"method": "dinov2", "model": "dinov2/vits14-notpretrained", "image_size": 224}
    check_method(config(transform_args={"local_view": {"view_size": [98, 98]}}, **model), 1)
    with pytest.raises(UsageError, match=r"local_view: view_size \[96, 96\]: .* patches of 14 pixels"):
        check_method(config(transform_args={"local_view": {"view_size": [96, 96]}}, **model), 1)


@pytest.mark.parametrize("rank", ["", "none"])
def test_a_rank_that_is_no_number_counts_as_none(monkeypatch, rank):
    for name in ("NODE_RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, rank)
    with pytest.raises(UsageError, match=r"fetch dinov2_vits14_reg4_pretrain.pth .* put it at .*/dinov2_vits14_reg4"):
        check_method(config(model="dinov2/vits14"), 1)
