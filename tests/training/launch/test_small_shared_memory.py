"""Runs in a mount namespace of their own, whose /dev/shm is as small as Docker's, or smaller."""

import subprocess
import sys
from pathlib import Path

import pytest

_MOUNT = 'mount -t tmpfs -o size="$1" tmpfs /dev/shm && shift && exec "$@"'
_LEFT = "\nimport os\nprint('left:', os.listdir('/dev/shm'))"
_LOADS = """
import sys, time
from training.launch.worker_errors import naming_workers
from training.loading.augment import PairedAugment
from training.loading.dataset import DiodeDepthDataset
from training.loading.loader import Loading, build_loader
from training.loading.sampler import TrainSampler

def main(path):
    dataset = DiodeDepthDataset(path, augment=PairedAugment(height=512, width=512), shuffle=True)
    loader = build_loader(dataset, TrainSampler(40, 2, dataset.prepare), Loading(batch_size=2, num_workers=2))
    with naming_workers():
        for number, batch in enumerate(loader):
            time.sleep(0.2 if number < 10 else 0)  # a slow trainer: all blocks are filled
    print("batches:", number + 1)
"""


def within(size: str, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with a /dev/shm of `size`, if this is allowed."""
    inside = ["unshare", "--mount", "--map-root-user", "sh", "-c", _MOUNT, "sh", size]
    try:
        allowed = subprocess.run([*inside, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("no mount namespace may be made here")
    return subprocess.run([*inside, *command], capture_output=True, text=True, check=False, timeout=400)


@pytest.mark.slow
def test_a_run_whose_batches_have_no_room_is_refused_in_a_line(diode_sets, tmp_path: Path) -> None:
    train, val = (one.url for one in diode_sets)
    out = str(tmp_path / "run")
    command = ["finetune", train, "--val", val, "--out", out, "--accelerator", "cpu", "--batch-size", "16"]
    done = within("64m", sys.executable, "-m", "training", *command)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "need 152 MB of shared memory" in done.stderr
    assert "docker run --shm-size=1g" in done.stderr
    assert not Path(out).exists()


@pytest.mark.slow
def test_what_is_reckoned_suffices_and_a_worker_without_it_says_so(diode_sets) -> None:
    from training.loading.shared_need import VIEW_PIXEL_BYTES, SharedNeed, index_bytes

    need = SharedNeed(
        purpose="",
        batch_bytes=2 * 512 * 512 * VIEW_PIXEL_BYTES,
        batches=20,
        workers=2,
        index_bytes=index_bytes(diode_sets[0]),
    )
    script = [sys.executable, "-c", f"{_LOADS}\nmain({diode_sets[0].url!r}){_LEFT}"]
    done = within(str(need.total), *script)
    assert done.stdout.splitlines() == ["batches: 20", "left: []"], done.stderr
    short = within(str(need.total // 2), *script)
    last = short.stderr.splitlines()[-1]
    assert last.startswith("sharding.errors.DataError: loader worker ")
    assert "no room for 4.2 MB in the shared memory, /dev/shm, of whose 13 MB" in last
