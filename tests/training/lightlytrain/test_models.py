import importlib.util
import re

import pytest
import torch

from sharding.errors import UsageError
from training.config import PretrainConfig
from training.finetuning.check import check_finetune
from training.lightlytrain.methods import patch_px
from training.lightlytrain.models import LISTED, OTHER_PACKAGES, UNLISTED, canonical, check_model
from training.lightlytrain.weights import find_pretrained
from training.pretraining.call import make_transform_args
from training.pretraining.pretrain import run
from training.runfolder import save_config


def names(table):
    return {f"{package}/{one}" for package, models in table.items() for one in models}


def test_the_table_is_that_of_the_installed_release_and_each_model_passes_the_check():
    import lightly_train

    listed = lightly_train.list_models()
    assert names(LISTED) == {name for name in listed if name.partition("/")[0] not in OTHER_PACKAGES}
    for name in listed:
        check_model(name)


def test_models_that_are_not_listed_are_those_lightly_train_builds():
    from lightly_train._models.dinov2_vit.dinov2_vit_src.configs import MODELS as DINOV2
    from lightly_train._models.dinov3.dinov3_package import MODEL_NAME_TO_INFO as DINOV3
    from lightly_train._models.ecvit.ecvit_package import MODEL_NAME_TO_INFO as EDGECRAFTER

    tables = {"dinov2": DINOV2, "dinov3": DINOV3, "edgecrafter": EDGECRAFTER}
    found = {f"{package}/{name}" for package, table in tables.items() for name in table if not table[name]["list"]}
    assert names(UNLISTED) == found
    for name in found:
        check_model(name)


def test_packages_are_all_that_lightly_train_has():
    from lightly_train._models.package_helpers import list_packages

    assert {one.name for one in list_packages()} == {*LISTED, *OTHER_PACKAGES}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("torchvision/resnet5", "--model: no model named 'torchvision/resnet5'; did you mean torchvision/resnet50?"),
        ("dinov2/vits15", "did you mean dinov2/vits14?"),
        ("dinov3/vits14", "did you mean dinov3/vits16?"),
        ("resnet50", "no model named 'resnet50'; did you mean torchvision/resnet50?"),
        ("timm/", "no model named 'timm/'; expected PACKAGE/MODEL, with one of dinov2, dinov3, edgecrafter, rfdetr"),
        ("vision/alexnet", "no model named 'vision/alexnet'; expected PACKAGE/MODEL"),
    ],
)
def test_another_name_is_refused_with_the_closest_one(name, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        check_model(name)


@pytest.mark.parametrize("package", sorted(OTHER_PACKAGES))
def test_a_package_that_is_not_installed_is_named(package, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=f"{package}, which is not installed: pip install {OTHER_PACKAGES[package]}"):
        check_model(f"{package}/some-model")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    check_model(f"{package}/some-model")  # which there are, the package knows


def test_the_patches_of_dinov2_are_those_of_its_models():
    from lightly_train._models.dinov2_vit.dinov2_vit_src.configs import MODELS, get_config_path, load_and_merge_config

    for name, info in MODELS.items():
        config = load_and_merge_config(str(get_config_path(info["config"])))
        assert patch_px(f"dinov2/{name}") == config.student.patch_size, name
    assert patch_px("dinov3/vits16") == patch_px("torchvision/resnet50") == 1


def test_local_views_are_whole_patches():
    def local(method, model, size):
        config = PretrainConfig(sets=("s",), out="o", method=method, model=model, image_size=size)
        return make_transform_args(config)["local_view"]["view_size"]

    assert local("dino", "dinov2/vits14", 224) == (98, 98)  # LightlyTrain's 96 fails there
    assert local("dino", "dinov3/vits16", 224) == local("dino", "torchvision/resnet50", 224) == (96, 96)
    assert local("dinov2", "dinov2/vits14", 224) == local("dinov31", "dinov3/vits16", 224) == (98, 98)
    assert local("dinov2", "dinov2/vits14", 56) == (28, 28)
    assert local("dinov2", "dinov2/vits14", 14) == (14, 14)


HEADS = {"output_dim": 64, "hidden_dim": 32}
STILL = {"random_rotation": None}
SMALLEST = [
    ("torchvision/shufflenet_v2_x0_5", "simclr", {"image_size": 32}),
    ("dinov2/_vittest14", "dinov2", {"image_size": 28, "method_args": HEADS}),
    ("dinov2/_vittest14", "dinov31", {"image_size": 56, "method_args": HEADS, "transform_args": STILL}),
    ("dinov2/_vittest14", "dino", {"image_size": 28, "method_args": HEADS}),
    ("dinov3/_vittest16", "simclr", {"image_size": 32}),
    ("dinov3/_convnexttest", "simclr", {"image_size": 32}),
    ("edgecrafter/_ecvittest-notpretrained", "simclr", {"image_size": 32}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "method", "options"), SMALLEST)
def test_the_smallest_of_each_package_trains_and_is_exported_strictly(megadepth_set, tmp_path, model, method, options):
    from lightly_train._models import package_helpers

    place = {"accelerator": "cpu", "devices": "1", "num_workers": 0, "batch_size": 8, "epochs": 1}
    config = PretrainConfig(
        sets=(megadepth_set.url,), out=str(tmp_path / "run"), model=model, method=method, **place, **options
    )
    outcome = run(config)
    assert outcome.data["steps"] == len(megadepth_set) // 8
    state = torch.load(outcome.data["encoder"], weights_only=True)
    package, name = package_helpers.parse_model_name(model)
    torch.manual_seed(1)
    fresh = package_helpers.get_package(package).get_model(name, load_weights=False)
    fresh.load_state_dict(state, strict=True)
    assert any(value.is_floating_point() and value.std() > 0 for value in state.values())


def test_an_encoder_of_another_package_is_refused_for_fine_tuning(diode_sets, tmp_path):
    from training.config import FinetuneConfig

    torch.save({}, tmp_path / "encoder.pt")
    save_config(tmp_path, PretrainConfig(sets=("a",), out=str(tmp_path), model="dinov2/_vittest14"))
    config = FinetuneConfig(
        set=diode_sets[0].url, val=diode_sets[1].url, out=str(tmp_path / "f"), encoder=str(tmp_path)
    )
    with pytest.raises(UsageError, match=r"expected a ResNet of torchvision.*found a run that pretrained dinov2/_vit"):
        check_finetune(config)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("dinov2_vit/vits14", "dinov2/vits14"),
        ("dinov2/vits14_notpretrained", "dinov2/vits14-notpretrained"),
        ("dinov2/vits14-pretrain", "dinov2/vits14"),
        ("dinov3/vits16_notpretrained", "dinov3/vits16-notpretrained"),
        ("dinov2/_vittest14", "dinov2/_vittest14"),
        ("torchvision/shufflenet_v2_x0_5", "torchvision/shufflenet_v2_x0_5"),
    ],
)
def test_names_of_earlier_releases_are_read_as_lightly_does(name, read):
    assert canonical(name) == read
    check_model(name)
    assert patch_px(name) == patch_px(read)
    assert find_pretrained(name) == find_pretrained(read)
