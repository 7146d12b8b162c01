"""A user's own script with one line changed: plain, on two devices, under torchrun. (Resuming: `test_lightly.py`.)"""

import os
import subprocess
import sys

import pytest
import torch

SCRIPT = """
import sys

import lightly_train
from training import stream_arguments

if __name__ == "__main__":
    set_url, out, devices, views, epochs = sys.argv[1:]
    lightly_train.pretrain(
        **stream_arguments(set_url, devices=int(devices), accelerator="cpu", views=views), out=out,
        model="torchvision/resnet18", method="simclr", epochs=int(epochs), batch_size=8, num_workers=1, seed=4,
        transform_args={"image_size": (32, 32)}, loggers={"tensorboard": None},
    )
"""


def run(tmp_path, out, opened, *, devices=1, launcher=(), views="cpu", epochs=2):
    """Run the script; return the exported weights."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "LIGHTLY_TRAIN_CACHE_DIR": str(tmp_path / "cache")}
    words = [opened.url, str(tmp_path / out), str(devices), views, str(epochs)]
    done = subprocess.run(
        [sys.executable, *launcher, str(script), *words], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(tmp_path / out / "exported_models" / "exported_last.pt", weights_only=True)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.slow
@pytest.mark.parametrize("views", ["cpu", "gpu"])
def test_a_script_runs_plain_and_again_alike(megadepth_set, tmp_path, views):
    first = run(tmp_path, "first", megadepth_set, views=views)
    assert equal(first, run(tmp_path, "again", megadepth_set, views=views))
    assert all(torch.isfinite(value).all() for value in first.values())


@pytest.mark.slow
def test_two_devices_are_those_of_torchrun(megadepth_set, tmp_path):
    launched = run(tmp_path, "launched", megadepth_set, devices=2)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert equal(launched, run(tmp_path, "torchrun", megadepth_set, devices=2, launcher=torchrun))
