"""Encoders, checkpoints and run folders that somebody handed over; these need torch."""

import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.hostile.case import Case, anything
from tests.hostile.worlds import World

TINY = (
    "--allow-overlap --encoder-name resnet18 --height 48 --width 64 --epochs 1 --batch-size 3 --num-workers 0 "
    "--accelerator cpu"
).split()


class Calls:
    """Writes the canary when it is unpickled."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return open, (self._path, "w")


def malicious(path: Path, world: World) -> None:
    """Write a checkpoint that runs code, as torch writes one."""
    import torch

    torch.save({"state_dict": {"a": torch.ones(2)}, "epoch": 0, "more": Calls(str(world.canary))}, path)


def pickled(path: Path, world: World) -> None:
    """Write a plain pickle that runs code."""
    path.write_bytes(pickle.dumps(Calls(str(world.canary))))


def saved(make: Callable[[], Any]) -> Callable[[Path, World], None]:
    """Save what a function makes."""

    def write(path: Path, world: World) -> None:
        import torch

        torch.save(make(), path)

    return write


def state(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path, World], None]:
    """Save the weights of a ResNet-18, changed."""

    def make() -> Any:
        import torchvision

        weights = torchvision.models.resnet18().state_dict()
        return change(weights) or weights

    return saved(make)


def data(content: bytes) -> Callable[[Path, World], None]:
    """Write these bytes."""
    return lambda path, world: path.write_bytes(content) and None


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return out.getvalue()


def inflating(path: Path, world: World) -> None:
    """Write an encoder whose storage is compressed zeros of 4 GB."""
    shutil.copy(world.inflating, path)


def _drop(weights: dict[str, Any]) -> None:
    del weights["conv1.weight"]


def _tensor(expression: str) -> Callable[[dict[str, Any]], None]:
    def change(weights: dict[str, Any]) -> None:
        import torch

        weights["conv1.weight"] = eval(expression, {"torch": torch})

    return change


WEIGHTS: dict[str, Callable[[Path, World], None]] = {
    "a checkpoint that runs code": malicious, "a pickle that runs code": pickled, "text": data(b"weights"), "empty": data(b""), "zeros": data(bytes(10_000)), "a zip of nothing": data(zipped({})),
    "a zip of text": data(zipped({"a.txt": b"x"})), "a page": data(b"<html>\x1b[2J"), "4 GB of zeros": inflating, "a list": saved(lambda: [1, 2]), "a number": saved(lambda: 5), "an empty state": saved(dict),
    "keys that are numbers": state(lambda w: dict(enumerate(w.values()))), "values that are text": state(lambda w: dict.fromkeys(w, "x")), "a value that is a list": state(lambda w: w.update({"conv1.weight": [1.0]})),
    "one tensor of another shape": state(_tensor("torch.ones(3)")), "an expanded tensor": state(_tensor("torch.ones(1).expand(10**10)")), "a strided tensor": state(_tensor("torch.ones(1).as_strided((64, 3, 7, 7), (0, 0, 0, 0))")),
    "complex": state(_tensor("torch.ones(64, 3, 7, 7, dtype=torch.complex64)")), "no number": state(_tensor("torch.full((64, 3, 7, 7), float('nan'))")), "meta": state(_tensor("torch.ones(64, 3, 7, 7, device='meta')")),
    "sparse": state(_tensor("torch.ones(64, 3, 7, 7).to_sparse()")), "a missing tensor": state(_drop), "another network": state(lambda w: {f"vit.{k.replace('conv', 'attention')}": v for k, v in w.items()}),
    "a key of controls": state(lambda w: w.update({"\x1b[2J": w["conv1.weight"]})), "a key of 1 MB": state(lambda w: w.update({"k" * 10**6: w["conv1.weight"]})), "a pickle of brackets": data(pickle.dumps([[[[]]]] * 9)),
}  # fmt: skip
MAY = ("a key of controls", "a key of 1 MB", "a strided tensor")


def encoder(write: Callable[[Path, World], None]) -> Any:
    """Build an encoder, and fine-tune from it."""

    def build(folder: Path, world: World) -> list[str]:
        write(folder / "encoder.pt", world)
        place = str(world.diode_set)
        return ["finetune", place, "--val", place, "--out", "new", "--encoder", "encoder.pt", *TINY]

    return build


def checkpoint(write: Callable[[Path, World], None], words: Callable[[str], list[str]]) -> Any:
    """Build a run with another checkpoint, and use it."""

    def build(folder: Path, world: World) -> list[str]:
        run = world.copy_run(folder)
        for name in ("best", "last"):
            (run / "checkpoints" / f"{name}.ckpt").unlink(missing_ok=True)
            write(run / "checkpoints" / f"{name}.ckpt", world)
        (run / "metrics.json").unlink()  # it is not finished, so that it can be resumed
        return words(str(world.diode_set))

    return build


def pretraining(write: Callable[[Path, World], None]) -> Any:
    """Build a pretraining run with a checkpoint, and resume it."""

    def build(folder: Path, world: World) -> list[str]:
        from training.config import PretrainConfig
        from training.runfolder import save_config

        place = str(world.diode_set)
        words = "--model torchvision/resnet18 --image-size 32 --epochs 1 --batch-size 2 --num-workers 0 --accelerator cpu".split()
        (folder / "run/checkpoints").mkdir(parents=True)
        options = {
            "model": "torchvision/resnet18",
            "image_size": 32,
            "epochs": 1,
            "batch_size": 2,
            "num_workers": 0,
            "accelerator": "cpu",
        }
        save_config(folder / "run", PretrainConfig(sets=(place,), out="run", **options))  # type: ignore[arg-type]
        write(folder / "run/checkpoints/last.ckpt", world)
        return ["pretrain", place, "--out", "run", *words, "--resume"]

    return build


FILES = ("config.yaml", "metrics.json", "curves.csv", "sets.json", "evaluation")
CONTENTS: dict[str, bytes] = {
    "empty": b"", "null": b"null", "a list": b"[]", "an object": b"{}", "text": b"x\x1b[2J", "binary": bytes(range(256)), "brackets": b"[" * 100_000, "not a number": b'{"last": NaN}', "2**70": b'{"last": %d}' % 2**70,
    "200 MB": b'{"a": "' + b"x" * (200 << 20) + b'"}', "code": b"a: !!python/object/apply:os.system ['touch canary']", "UTF-16": "{}".encode("utf-16"),
}  # fmt: skip


def damaged(name: str, content: bytes, words: Callable[[str], list[str]]) -> Any:
    """Build a run one of whose files has other content."""

    def build(folder: Path, world: World) -> list[str]:
        run = world.copy_run(folder)
        path = (
            next(iter(sorted(run.rglob("*evaluat*.json") or run.rglob("*.json"))))
            if name == "evaluation"
            else run / name
        )
        path.write_bytes(content)
        return words(str(world.diode_set))

    return build


def edited(name: str, change: Callable[[Any], Any]) -> Any:
    """Build a run one of whose JSON files was changed."""

    def build(folder: Path, world: World) -> list[str]:
        run = world.copy_run(folder)
        path = run / name
        content = json.loads(path.read_text())
        path.write_text(json.dumps(change(content) or content))
        return ["compare", "run", "--out", "report.html"]

    return build


def where(text: str) -> Any:
    """Build a run whose options have a query."""

    def build(folder: Path, world: World) -> list[str]:
        import yaml

        path = world.copy_run(folder) / "config.yaml"
        options = yaml.safe_load(path.read_text())
        canary = str(world.canary)
        path.write_text(
            yaml.safe_dump(options | dict.fromkeys(("where", "val_where"), text.replace("{canary}", canary)))
        )
        return ["compare", "run", "--out", "report.html"]

    return build


COMPARE: Callable[[str], list[str]] = lambda place: ["compare", "run", "--out", "report.html"]  # noqa: E731
USES: dict[str, Callable[[str], list[str]]] = {
    "evaluate": lambda place: ["evaluate", "run", place],
    "resume": lambda place: ["finetune", place, "--val", place, "--out", "run", *TINY, "--resume"],
    "encoder": lambda place: ["finetune", place, "--val", place, "--out", "new", "--encoder", "run/checkpoints/last.ckpt", *TINY],
}  # fmt: skip
CHECKPOINTS = (
    "a checkpoint that runs code",
    "a pickle that runs code",
    "text",
    "empty",
    "a list",
    "an empty state",
    "4 GB of zeros",
    "a zip of text",
)

_cases = [
    *(partial(Case, f"encoders/{name}", encoder(write), anything if name in MAY else None) for name, write in WEIGHTS.items()),
    *(partial(Case, f"checkpoints/{use}: {name}", checkpoint(WEIGHTS[name], words)) for use, words in USES.items() for name in CHECKPOINTS),
    *(partial(Case, f"checkpoints/pretrain: {name}", pretraining(WEIGHTS[name])) for name in CHECKPOINTS),
    *(partial(Case, f"run folders/{name} is {label}", damaged(name, content, COMPARE), anything) for name in FILES for label, content in CONTENTS.items()),
    *(partial(Case, f"run folders/config.yaml is {label}, evaluate", damaged("config.yaml", content, USES["evaluate"])) for label, content in CONTENTS.items()),
    *(partial(Case, f"run folders/where is {text[:20]}", where(text)) for text in ("@io.open('{canary}','w')", "key.to_csv('{canary}')", "9**9**9", "nonsense")),
    *(partial(Case, f"run folders/{field} of metrics is {value!r}", edited("metrics.json", lambda content, field=field, value=value: content.update({field: value})), anything)  # type: ignore[misc]
      for field in ("last", "best", "finished") for value in (None, [], "\x1b[2J", -1, 2**70, {"a": [1]})),
]  # fmt: skip
CASES = [make(torch=True) for make in _cases]


def sound(folder: Path, world: World) -> list[str]:
    """Compare the sound run."""
    shutil.copytree(world.run, folder / "run")
    return ["compare", "run", "--out", "report.html"]


CASES.append(Case("run folders/sound", sound, lambda folder, said: None, torch=True))
