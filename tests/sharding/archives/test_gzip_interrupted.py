"""Ctrl-C at random moments while a gzip file is opened, read and closed: always that, never an abort or damage."""

import gzip
import os
import signal
import subprocess
import sys

import pytest

from tests.sharding.shard_runs import environment

INTERRUPTED = """
import random, signal, sys, threading, time
from sharding.archives.byte_source import LocalFile
from sharding.archives.gzip_stream import GzipStream
from sharding.machine.signals import raising_signals

moments, over, count = random.Random(0), threading.Event(), 0

def send():
    while not over.wait(moments.uniform(0, 0.004)):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

def read_whole():
    stream = None
    try:
        stream = GzipStream(LocalFile(sys.argv[1]))
        while stream.read(1 << 16):
            pass
    finally:
        if stream is not None:
            stream.close()

with raising_signals(terminate=True):
    sender, until = threading.Thread(target=send, daemon=True), time.monotonic() + float(sys.argv[2])
    try:
        sender.start()
    except KeyboardInterrupt:
        pass
    while time.monotonic() < until:
        try:
            read_whole()
        except KeyboardInterrupt:
            count += 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    over.set()
print(count)
"""


@pytest.mark.parametrize("seconds", ["1", pytest.param("20", marks=pytest.mark.slow)])
def test_interrupts_at_any_moment_are_interrupts(tmp_path, seconds):
    (tmp_path / "data.gz").write_bytes(gzip.compress(os.urandom(1 << 20) * 6, 1))
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path / "data.gz"), seconds],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 3
