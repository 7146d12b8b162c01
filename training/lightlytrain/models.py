"""Which models LightlyTrain 0.18 pretrains, by package; a table, since to ask it takes ten seconds."""

import importlib.util

from sharding.errors import UsageError
from sharding.options import suggest

TORCHVISION = "torchvision/"

LISTED = {
    "dinov2": (
        *("vitb14", "vitb14-notpretrained", "vitb14-tipsv2", "vitg14", "vitg14-notpretrained", "vitg14-tipsv2"),
        *("vitl14", "vitl14-notpretrained", "vitl14-tipsv2", "vits14", "vits14-notpretrained", "vitso400m14-tipsv2"),
    ),
    "dinov3": (
        *("convnext-base", "convnext-base-eupe", "convnext-base-notpretrained"),
        *("convnext-large", "convnext-large-notpretrained"),
        *("convnext-small", "convnext-small-eupe", "convnext-small-notpretrained"),
        *("convnext-tiny", "convnext-tiny-eupe", "convnext-tiny-notpretrained"),
        *("vit7b16", "vit7b16-sat493m", "vith16plus"),
        *("vitb16", "vitb16-eupe", "vitb16-lingbot", "vitb16-notpretrained"),
        *("vitl16", "vitl16-lingbot", "vitl16-notpretrained", "vitl16-sat493m"),
        *("vits16", "vits16-eupe", "vits16-lingbot", "vits16-notpretrained", "vits16plus"),
        *("vitt16", "vitt16-distillationv1", "vitt16-eupe", "vitt16-notpretrained"),
        *("vitt16plus", "vitt16plus-distillationv1", "vitt16plus-notpretrained"),
    ),
    "edgecrafter": ("ecvits", "ecvitsplus", "ecvitt", "ecvittplus"),
    "torchvision": (
        *("convnext_base", "convnext_large", "convnext_small", "convnext_tiny"),
        *("resnet101", "resnet152", "resnet18", "resnet34", "resnet50"),
        *("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0"),
    ),
}
"""Models that LightlyTrain lists, of the packages that come with it."""

UNLISTED = {
    "dinov2": (
        "_vittest14",
        *(f"vit{size}14{kind}" for size in "sblg" for kind in ("-noreg", "-pretrained", "-noreg-pretrained")),
        *(f"vit{size}14-noreg-notpretrained" for size in "sblg"),
        "vitl16-noreg-notpretrained",
    ),
    "dinov3": ("_convnexttest", "_vittest16"),
    "edgecrafter": ("_ecvittest-notpretrained", "_ecvitt-notpretrained"),
}
"""Models that it has besides: tiny ones for tests, aliases, transformers without registers."""

OTHER_PACKAGES = {
    "rfdetr": "rfdetr",
    "super_gradients": "super-gradients",
    "timm": "timm",
    "ultralytics": "ultralytics",
}
"""Packages whose own release decides which models there are, and what each is called where packages are installed."""


def canonical(name: str) -> str:
    """Return a model's name as LightlyTrain reads it: it takes names of its earlier releases, too.

    Args:
        name: PACKAGE/MODEL.
    """
    package, _, model = name.partition("/")
    package = "dinov2" if package == "dinov2_vit" else package
    if package not in ("dinov2", "dinov3"):
        return name
    model = model[:1] + model[1:].replace("_", "-")  # a leading one marks models for tests
    return f"{package}/{model.removesuffix('-pretrain')}"


def check_model(name: str) -> None:
    """Check that there is such a model, as far as the table tells: LightlyTrain knows those of `OTHER_PACKAGES`.

    Raises:
        UsageError: There is none, or its package is not installed.
    """
    package, _, model = canonical(name).partition("/")
    if package in OTHER_PACKAGES and model:
        if importlib.util.find_spec(package) is None:
            raise UsageError(
                f"--model {name}: needs {package}, which is not installed: pip install {OTHER_PACKAGES[package]}"
            )
        return
    if package in LISTED:
        known = [f"{package}/{one}" for table in (LISTED, UNLISTED) for one in table.get(package, ())]
        if canonical(name) not in known:
            raise UsageError(f"--model: no model named {name!r}{suggest(name, known)}")
        return
    of_that_name = [f"{key}/{name}" for key, models in LISTED.items() if name in models]
    hint = (
        f"; did you mean {of_that_name[0]}?"
        if of_that_name
        else f"; expected PACKAGE/MODEL, with one of {', '.join(sorted({*LISTED, *OTHER_PACKAGES}))}"
    )
    raise UsageError(f"--model: no model named {name!r}{hint}")
