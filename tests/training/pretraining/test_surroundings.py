"""What LightlyTrain does to a process and to the world around it, and what is left of that."""

import os
import socketserver
import subprocess
import sys
import threading
import urllib.request

import lightly_train
import pytest

from training.pretraining.environment import switch_reports_off
from training.pretraining.lightly import stream_arguments

NAME = "LIGHTLY_TRAIN_EVENTS_DISABLED"


@pytest.fixture
def requests(monkeypatch):
    """First lines of what this process asks of the network: it must pass a proxy, which answers nothing."""
    lines, arrived = [], threading.Event()

    class Proxy(socketserver.StreamRequestHandler):
        def handle(self):
            lines.append(self.rfile.readline().decode().strip())
            arrived.set()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in ("https_proxy", "http_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        urllib.request.install_opener(urllib.request.build_opener())  # reads the variables
        yield lines, arrived
        server.shutdown()
    urllib.request.install_opener(None)


def begin(samples, out):
    """Run the one-line door for no epoch."""
    lightly_train.pretrain(
        **stream_arguments(samples, devices=1, accelerator="cpu"),
        out=out,
        model="torchvision/resnet18",
        method="simclr",
        epochs=0,
        num_workers=0,
        batch_size=8,
        loggers={"tensorboard": None},
    )


@pytest.mark.slow
def test_the_one_line_door_reports_nothing_unless_it_is_asked_to(requests, megadepth_set, tmp_path, monkeypatch):
    lines, arrived = requests
    monkeypatch.setenv("LIGHTLY_TRAIN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv(NAME, raising=False)
    begin(megadepth_set, tmp_path / "quiet")
    assert os.environ[NAME] == "1"
    assert not arrived.wait(1)
    monkeypatch.setenv(NAME, "0")
    begin(megadepth_set, tmp_path / "asked")
    assert os.environ[NAME] == "0"
    assert arrived.wait(30)
    assert all("posthog" in line for line in lines), lines  # so the proxy sees what is sent, and saw all of it


@pytest.mark.parametrize(
    ("given", "chosen"), [(None, "1"), ("", "1"), ("1", "1"), ("true", "1"), ("0", "0"), ("False", "False")]
)
def test_only_a_no_asks_for_reports(given, chosen, monkeypatch):
    monkeypatch.setenv(NAME, given or "")
    if given is None:
        monkeypatch.delenv(NAME)
    switch_reports_off()
    assert os.environ[NAME] == chosen


PILLOW = """
import io, sys
from PIL import Image, ImageFile
from training.loading.decode import decode_rgb
from training.pretraining import lightly

begins = {begins}
ImageFile.LOAD_TRUNCATED_IMAGES = begins
try:
    lightly.pretrain(nonsense=1)
except TypeError as error:
    assert "nonsense" in str(error)
assert "lightly_train" in sys.modules
assert ImageFile.LOAD_TRUNCATED_IMAGES is begins
for kind in ("JPEG", "PNG"):
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(file, kind)
    half = file.getvalue()[: file.tell() // 2]
    for imports_first in (False, True):  # as a script of the user does
        ImageFile.LOAD_TRUNCATED_IMAGES = imports_first or begins
        try:
            decode_rgb(half)
        except Exception as error:
            assert type(error).__name__ == "DataError", error
        else:
            raise SystemExit(f"half a {{kind}} was decoded")
        assert ImageFile.LOAD_TRUNCATED_IMAGES is (imports_first or begins)
print("unchanged")
"""


@pytest.mark.slow
@pytest.mark.parametrize("begins", [False, True])
def test_pillow_is_as_before_and_half_an_image_is_an_error_all_the_same(begins):
    done = subprocess.run(
        [sys.executable, "-c", PILLOW.format(begins=begins)], capture_output=True, text=True, timeout=300
    )
    assert done.stdout == "unchanged\n", done.stderr
