"""A user's own script with one line changed: plain, on two devices, under torchrun, killed and resumed."""

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
    set_url, out, devices, views, epochs, resume = sys.argv[1:]
    lightly_train.pretrain(
        **stream_arguments(set_url, devices=int(devices), accelerator="cpu", views=views), out=out,
        model="torchvision/resnet18", method="simclr", epochs=int(epochs), batch_size=8, num_workers=1, seed=4,
        transform_args={"image_size": (32, 32)}, loggers={"tensorboard": None}, resume_interrupted=resume == "yes",
        callbacks={"model_checkpoint": {"every_n_train_steps": 1, "save_last": True, "save_top_k": 1}},
    )
"""


def start(tmp_path, out, opened, *, devices=1, launcher=(), views="cpu", epochs=2, resume=False):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "LIGHTLY_TRAIN_CACHE_DIR": str(tmp_path / "cache")}
    words = [opened.url, str(tmp_path / out), str(devices), views, str(epochs), "yes" if resume else "no"]
    return subprocess.Popen(
        [sys.executable, *launcher, str(script), *words],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path,
    )  # fmt: skip


def run(tmp_path, out, opened, **options):
    """Run the script; return the exported weights."""
    process = start(tmp_path, out, opened, **options)
    said, _ = process.communicate()
    assert process.returncode == 0, said[-3000:]
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


@pytest.mark.slow
@pytest.mark.parametrize("views", ["cpu", "gpu"])
def test_a_script_that_is_killed_and_resumed_ends_alike(megadepth_set, tmp_path, views):
    expected = run(tmp_path, "whole", megadepth_set, views=views, epochs=6)
    process = start(tmp_path, "killed", megadepth_set, views=views, epochs=6)
    saved = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    while not saved.exists():
        assert process.poll() is None, process.communicate()[0][-3000:]
    process.kill()
    process.communicate()
    assert not (tmp_path / "killed" / "exported_models" / "exported_last.pt").exists()
    assert equal(run(tmp_path, "killed", megadepth_set, views=views, epochs=6, resume=True), expected)
