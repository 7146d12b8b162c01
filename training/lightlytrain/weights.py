"""Pretrained weights from which LightlyTrain 0.18 would start a model: which file, and where it looks for it.

It downloads what it does not find, in the middle of starting a run; here a file is missed before. The files are known
by rules, since to ask LightlyTrain takes ten seconds; a test holds the rules to it. It keeps them in a folder of its
own (torch's hub folder is not asked); torchvision's and timm's models start from random weights.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from sharding.errors import UsageError
from training.lightlytrain.models import canonical

_DINOV3 = re.compile(r"(?P<stem>vit(?:7b|[tsblh])|convnext-[a-z]+)(?P<patch>[0-9]*)(?P<plus>plus)?(?:-(?P<kind>.+))?")
_DINOV2 = re.compile(r"(?P<size>vit(?:[sblg]|so400m)14)(?:-(?P<kind>noreg|tipsv2))?")
# DINOv3 by the end of a model's name: end of the file's name, and whose weights it holds.
_DINOV3_KINDS = {
    None: ("lvd1689m.pth", "DINOv3 of Meta"),
    "sat493m": ("sat493m.pth", "DINOv3 of Meta, from satellite images"),
    "eupe": ("eupe_lvd1689.pth", "EUPE of Meta; its own name there is EUPE-{stem}.pt"),
    "lingbot": ("lingbot.pth", "LingBot-Vision of Robbyant; its own name there is model.pt"),
    "distillationv1": ("distillationv1.pth", "DINOv3 as LightlyTrain distilled it"),
    "distillationv2": ("distillationv2.pth", "DINOv3 as LightlyTrain distilled it"),
}
_NODE_RANKS = ("NODE_RANK", "GROUP_RANK", "SLURM_NODEID")
_LOCAL_RANKS = ("LOCAL_RANK", "SLURM_LOCALID", "JSM_NAMESPACE_LOCAL_RANK")


@dataclass(frozen=True)
class Weights:
    """Pretrained weights of a model.

    Attributes:
        file: Name of the file, where LightlyTrain keeps it.
        source: Whose weights they are.
        per_node: Whether LightlyTrain puts the rank of the node before the name, if a launcher has set one.
    """

    file: str
    source: str
    per_node: bool = False


def find_pretrained(model: str) -> Weights | None:
    """Return the weights that LightlyTrain starts a model from; None if they are random, or not known here.

    Args:
        model: Its name, such as "dinov3/vits16".
    """
    package, _, name = canonical(model).partition("/")
    if package == "dinov2":
        return _find_dinov2(name)
    if package == "dinov3":
        return _find_dinov3(name)
    if package == "edgecrafter" and re.fullmatch(r"ecvit[ts](plus)?", name):
        return Weights(f"{name}.pth", "EdgeCrafter")
    return None


def _find_dinov2(name: str) -> Weights | None:
    parts = _DINOV2.fullmatch(name.removesuffix("-pretrained"))
    if parts is None:
        return None
    if parts["kind"] == "tipsv2":
        return Weights(f"dinov2_{parts['size']}_tipsv2.pt", "TIPSv2, as LightlyTrain publishes it", per_node=True)
    registers = "" if parts["kind"] == "noreg" else "_reg4"
    return Weights(f"dinov2_{parts['size']}{registers}_pretrain.pth", "DINOv2 of Meta", per_node=True)


def _find_dinov3(name: str) -> Weights | None:
    parts = _DINOV3.fullmatch(name)
    if parts is None:
        return None
    kind = parts["kind"] or ("distillationv2" if parts["stem"] == "vitt" else None)
    if kind not in _DINOV3_KINDS:
        return None  # such as notpretrained
    # A model of another patch size starts from the weights for patches of 16 pixels.
    model = f"{parts['stem'].replace('-', '_')}{'16' * bool(parts['patch'])}{parts['plus'] or ''}"
    end, source = _DINOV3_KINDS[kind]
    return Weights(f"dinov3_{model}_{end}", source.format(stem=_eupe_name(parts["stem"])))


def _eupe_name(stem: str) -> str:
    """Return the published name of a model of EUPE: ViT-S for vits, ConvNeXt-T for convnext-tiny."""
    return f"ConvNeXt-{stem[9].upper()}" if stem.startswith("convnext-") else f"ViT-{stem[3:].upper()}"


def place_of(weights: Weights) -> Path:
    """Return where LightlyTrain looks for weights in this process: in its folder of models, by the environment."""
    folder = os.environ.get("LIGHTLY_TRAIN_MODEL_CACHE_DIR")
    if not folder:
        cache = os.environ.get("LIGHTLY_TRAIN_CACHE_DIR") or "~/.cache/lightly-train"
        folder = os.path.join(cache, "models")
    node = _first_of(_NODE_RANKS) if weights.per_node else None
    return Path(folder).expanduser().resolve() / (weights.file if node is None else f"{int(node)}_{weights.file}")


def check_pretrained(model: str, why: str, remedy: str) -> None:
    """Check that the weights a model starts from are on this machine, unless they are random.

    Args:
        model: Its name.
        why: What needs it, for the message: an option or the teacher of a method.
        remedy: What else may be done.

    Raises:
        UsageError: They are not; the message says what to fetch and where to put it.
    """
    weights = find_pretrained(model)
    # The first rank of a node fetches and checks for all of them.
    if weights is None or int(_first_of(_LOCAL_RANKS) or 0) or (place := place_of(weights)).is_file():
        return
    raise UsageError(
        f"{why} starts from pretrained weights that are not on this machine, and nothing is downloaded here: fetch "
        f"{weights.file} ({weights.source}) and put it at {place}; or {remedy}"
    )


def _first_of(names: tuple[str, ...]) -> str | None:
    """Return the first rank that is set; an empty one, or what is no number, counts as none."""
    return next((rank for name in names if (rank := os.environ.get(name, "")).isdigit()), None)
