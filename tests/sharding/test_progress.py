import contextlib
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path
from types import SimpleNamespace

import pytest

from sharding import progress
from sharding.progress import Meter, be_quiet, say, spoken, track

ROOT = Path(__file__).parents[2]
LINE = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d "


def test_the_rate_is_that_of_what_was_done_since_measuring_began(capsys, monkeypatch):
    now = 50.0
    monkeypatch.setattr("sharding.progress.time", SimpleNamespace(monotonic=lambda: now))
    with Meter(1000, 100, "work") as meter:
        assert meter.seconds_left == float("inf")
        meter.advance(300)
        meter.begin_measuring()
        assert meter.bytes_left == 600
        now = 52.0
        meter.advance(200)
        assert (meter.rate, meter.seconds_left) == (100, 4)
        now = 54.0
        assert (meter.rate, meter.seconds_left) == (50, 8)
        meter.advance(400)
        assert meter.seconds_left == 0
    assert capsys.readouterr().err == ""  # shorter than the time of a line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (5300, "88 min"), (5400, "1 h 30 min"), (86400, "24 h 0 min")],
)
def test_durations_are_spoken(seconds, text):
    assert spoken(seconds) == text


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = SimpleNamespace(at=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now.at))
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    return now


def test_a_log_gets_whole_lines_with_time_rate_and_what_is_left(clock, capsys):
    for _ in track(range(40), total=50, unit="samples", label="verify", done=10):
        clock.at += 3.0
    lines = capsys.readouterr().err.splitlines()
    assert "\r" not in "".join(lines)
    assert all(re.fullmatch(LINE + r"verify: \d+ of 50 samples .*/s(, .* left)?", line) for line in lines)
    assert lines[0].endswith("verify: 14 of 50 samples (28 %), 0.333 samples/s, 2 min left")
    assert lines[-1].endswith("verify: 50 of 50 samples (100 %), 0.333 samples/s")
    assert len(lines) == 11  # every 12 s, the first steps after 10 s, of 120; and the end


def test_bytes_are_shown_in_megabytes(clock, capsys):
    with Meter(3_000_000, 1_000_000, "shard") as meter:
        clock.at += 20.0
        meter.advance(500_000)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith("shard: 1.5 of 3.0 MB (50 %), 0.0 MB/s, 60 s left")


def test_a_line_of_one_of_several_ranks_names_it(clock, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for _ in track(range(2), total=2, unit="steps", label="epoch 1/2"):
        clock.at += 11.0
    assert re.match(LINE + "rank 0: epoch 1/2: 1 of 2 steps", capsys.readouterr().err)


def test_a_note_stands_behind_each_line(clock, capsys):
    notes = iter(["", "half", "all", "all"])
    for _ in track(range(3), total=3, unit="steps", label="work", note=lambda: next(notes)):
        clock.at += 20.0
    lines = [line.partition("work: ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "1 of 3 steps (33 %), 0.05 steps/s, 40 s left",
        "2 of 3 steps (67 %), 0.05 steps/s, 20 s left; half",
        *["3 of 3 steps (100 %), 0.05 steps/s; all"] * 2,
    ]


def test_an_interrupted_bar_says_where_it_stood(clock, capsys):
    def work():
        for at in track(range(9), total=9, unit="steps", label="work"):
            clock.at += 11.0
            if at == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert "work: 3 of 9 steps" in capsys.readouterr().err.splitlines()[-1]


def test_quiet_says_nothing_until_it_ends(clock, capsys):
    be_quiet(True)
    try:
        say("hello")
        for _ in track(range(3), total=3, unit="steps", label="work"):
            clock.at += 11.0
        with Meter(3, 0, "bytes") as meter:
            meter.advance(3)
        assert (capsys.readouterr().err, meter.bytes_left) == ("", 0)
    finally:
        be_quiet(False)
    say("hello")
    assert capsys.readouterr().err == "hello\n"


FAILS = """
import sys, time
from dataclasses import dataclass
from sharding.cli import Command, main
from sharding.errors import DataError
from sharding.progress import track

@dataclass(frozen=True, kw_only=True)
class Options:
    pass

def run(config):
    for at in track(range(9), total=9, unit="steps", label="work", note=lambda: "a note"):
        time.sleep(0.2)
        if at == 3:
            raise DataError("it broke")

sys.modules["fails"] = sys.modules["__main__"]
sys.exit(main("program", "", [Command(name="work", config=Options, runner="fails:run", help="")], ["work"]))
"""


def test_on_a_terminal_an_error_begins_a_line():
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    command, environment = [sys.executable, "-c", FAILS], os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stderr=theirs, stdin=theirs, env=environment)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # when the other end is closed
        while more := os.read(ours, 4096):
            shown += more
    os.close(ours)
    assert process.wait(60) == 1
    lines = shown.decode().replace("\r\n", "\n").split("\n")
    assert lines[-2:] == ["program work: it broke", ""]
    assert "work:" in lines[-3]
    assert "steps/s, a note]" in lines[-3]


@pytest.mark.parametrize("argv", [["--help"], ["inspect", "--help"], ["--version"], ["--completion", "bash"]])
@pytest.mark.parametrize("stdout", ["closed pipe", "/dev/full"])
def test_an_output_that_nobody_reads_or_that_is_full_is_no_traceback(argv, stdout):
    if stdout == "closed pipe":
        read, write = os.pipe()
        os.close(read)
    else:
        write = os.open(stdout, os.O_WRONLY)
    command = [sys.executable, "-m", "training", *argv]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=60)
    os.close(write)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if stdout == "/dev/full":
        assert "stdout: No space left on device" in done.stderr


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "2> >(true)", "2>&- >&-"])
def test_work_does_not_end_because_nobody_reads_what_it_says(redirection, tmp_path):
    command = f"{sys.executable} -m training toyworld {tmp_path}/toy --layout diode --images 1 {redirection}"
    assert subprocess.run(["bash", "-c", command], cwd=ROOT, timeout=60, stdout=subprocess.PIPE).returncode == 0
    assert (tmp_path / "toy" / "val").is_dir()
