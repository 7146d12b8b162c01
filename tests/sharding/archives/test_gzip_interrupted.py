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

def interrupt(number, frame):
    while frame is not None:
        if frame.f_code is read_whole.__code__:
            raise KeyboardInterrupt
        frame = frame.f_back

signal.signal(signal.SIGINT, interrupt)  # nothing else is interrupted, such as the loop below
with raising_signals(terminate=True):
    sender, until = threading.Thread(target=send, daemon=True), time.monotonic() + float(sys.argv[2])
    sender.start()
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


TWICE = """
import signal, sys, threading
from sharding.archives import gzip_stream
from sharding.archives.byte_source import ByteView, LocalFile
from sharding.machine.signals import raising_signals

calls, moments = 0, [int(moment) for moment in sys.argv[2:]]

def counted(method):
    def call(*args):
        global calls
        calls += 1
        if calls in moments:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return method(*args)
    gzip_stream._CALLED_BACK.add(call.__code__)
    return call

for name in ("tell", "seekable", "seek", "read", "readinto"):
    setattr(ByteView, name, counted(getattr(ByteView, name)))

with raising_signals(terminate=True):
    try:
        stream = gzip_stream.GzipStream(LocalFile(sys.argv[1]))
        try:
            stream.read(100)
        finally:
            stream.close()
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize("moments", [(1, 6), (2, 6), (5, 6), (6, 9), (20, 30)], ids=str)
def test_a_second_interrupt_while_the_reader_is_freed_is_one(tmp_path, moments):
    (tmp_path / "data.gz").write_bytes(gzip.compress(os.urandom(1 << 20) * 6, 1))
    done = subprocess.run(
        [sys.executable, "-c", TWICE, str(tmp_path / "data.gz"), *map(str, moments)],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
