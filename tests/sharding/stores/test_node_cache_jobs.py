"""Several processes on one cache, really killed, and a disk that is really full."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sharding.stores.local import LocalStore
from sharding.stores.node_cache import NodeCache
from tests.sharding.stores.cache_job import counted, entries, make_objects, taken

ROOT = Path(__file__).parents[3]


class Jobs:
    """Starts processes that read the objects below `source`; each compares every byte it reads."""

    def __init__(self, folder, name, **shape):
        self.source, self.cache, self.name = folder / name, folder / "cache", name
        self.places = make_objects(self.source, **shape)
        self.bytes = sum(length for _, (_, length) in self.places)
        self._places, self._log = folder / f"{name}.json", folder / f"{name}.log"
        self._places.write_text(json.dumps(self.places))
        self.environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def command(self, **options):
        given = {"root": self.source, "cache": self.cache, "identity": self.name, "places": self._places}
        given |= {"log": self._log, "limit": 10**9, "part": 0, "parts": 1} | options
        words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        return [sys.executable, "-m", "tests.sharding.stores.cache_job", *words]

    def start(self, **options):
        return subprocess.Popen(self.command(**options), env=self.environment, cwd=ROOT)

    def start_four(self, turn=0, **options):
        """Two ranks with two workers each: every worker has a quarter, another one at the next turn."""
        return [self.start(part=(number + turn) % 4, parts=4, **options) for number in range(4)]

    def wait_until_fetching(self):
        """Wait until a process has fetched something since the last question."""
        deadline = time.monotonic() + 60
        while not (self._log.exists() and self._log.stat().st_size):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self._log.unlink()

    def fetched(self):
        """Ranges that were fetched since the last question."""
        lines = [line.split() for line in self._log.read_text().splitlines()] if self._log.exists() else []
        self._log.unlink(missing_ok=True)
        return sorted((name, (int(offset), int(length))) for name, offset, length in lines)


@pytest.fixture
def jobs(tmp_path):
    return Jobs(tmp_path, "one")


def watch(processes, cache):
    """Wait for processes that must succeed; return the most that files took, seen while they ran."""
    most = 0
    while any(process.poll() is None for process in processes):
        most = max(most, taken(cache / "sets") + taken(cache / "unfinished"))
        time.sleep(0.01)
    assert [process.returncode for process in processes] == [0] * len(processes)
    return max(most, taken(cache))


def check_sound(cache, limit, *sources):
    """What is visible is right, nothing unfinished is left once the cache was opened, and the count is exact."""
    found = counted(cache, limit)
    assert list((cache / "unfinished").iterdir()) == []
    assert found == taken(cache / "sets") <= limit
    roots = {job.name: job.source for job in sources}
    for path in entries(cache):
        span = int(path.name), path.stat().st_size
        name = path.parent.name.removesuffix(".ranges").replace("%2F", "/")
        assert LocalStore(roots[path.parents[1].name]).read(name, [span]) == [path.read_bytes()]


def test_two_ranks_with_two_workers_each_fetch_every_range_once(jobs):
    watch(jobs.start_four(), jobs.cache)
    assert jobs.fetched() == sorted(jobs.places)
    watch(jobs.start_four(turn=1), jobs.cache)
    assert jobs.fetched() == []
    check_sound(jobs.cache, 10**9, jobs)


def test_processes_that_want_the_same_at_the_same_time_keep_it_once(jobs):
    watch([jobs.start() for _ in range(3)], jobs.cache)
    fetched = jobs.fetched()
    assert set(fetched) == set(jobs.places)
    assert len(entries(jobs.cache)) == len(jobs.places)
    check_sound(jobs.cache, 10**9, jobs)


def test_two_jobs_with_two_sets_keep_the_bound_between_them(tmp_path):
    jobs = [Jobs(tmp_path, name, seed=seed) for seed, name in enumerate(("one", "two"))]
    limit = sum(job.bytes for job in jobs) // 3
    # All of both sets, so that the cache fills; all are waited for, so that nothing is being written afterwards.
    most = watch([process for job in jobs for process in job.start_four(limit=limit, epochs=2)], jobs[0].cache)
    assert 0.95 * limit < most <= limit + 4096  # and the file with the count
    check_sound(jobs[0].cache, limit, *jobs)


def test_a_process_killed_at_any_step_leaves_nothing_that_harms(jobs):
    for step in ("write", "half", "replace", "replaced"):
        assert jobs.start(die=step, limit=jobs.bytes // 2).wait(20) == -9
        if step in ("half", "replace"):
            assert len(list((jobs.cache / "unfinished").iterdir())) == 1
        check_sound(jobs.cache, jobs.bytes // 2, jobs)
    watch([jobs.start(limit=jobs.bytes // 2)], jobs.cache)
    check_sound(jobs.cache, jobs.bytes // 2, jobs)


def test_what_a_killed_process_reserved_stays_counted_until_nobody_else_uses_the_cache(jobs):
    beside = NodeCache(jobs.cache, 10**9)
    assert jobs.start(die="half").wait(20) == -9
    before = counted(jobs.cache)
    assert before >= taken(jobs.cache / "unfinished") > 0
    assert counted(jobs.cache, 10**9) == before
    assert len(list((jobs.cache / "unfinished").iterdir())) == 1
    del beside
    check_sound(jobs.cache, 10**9, jobs)


@pytest.mark.slow
def test_processes_killed_at_random_moments(tmp_path):
    jobs = Jobs(tmp_path, "one", objects=2, ranges=60, largest=600_000, seed=3)
    chance, limit = random.Random(5), jobs.bytes // 2
    for _ in range(6):
        processes = [jobs.start(part=part, parts=2, limit=limit, epochs=1000, forget=0.5) for part in range(2)]
        jobs.wait_until_fetching()
        time.sleep(chance.uniform(0, 0.35))
        for process in processes:
            assert process.poll() is None
            process.kill()
            process.wait(20)
        check_sound(jobs.cache, limit, jobs)
    watch([jobs.start(limit=limit)], jobs.cache)
    check_sound(jobs.cache, limit, jobs)
    assert taken(jobs.cache) > 0.9 * limit


SMALL_DISK = """
mount -t tmpfs -o size=300k tmpfs disk || exit 77
"$@"; echo "first $?"
"$@"; echo "second $?"
find disk/sets disk/unfinished -type f -size +0 | wc -l
mount -o remount,size=100m disk
"$@"; echo "third $?"
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare")
def test_a_disk_that_is_really_full(tmp_path, jobs):
    """120 ranges of some 20 KB, a disk of 300 KB."""
    (tmp_path / "disk").mkdir()
    command = ["unshare", "-rm", "sh", "-c", SMALL_DISK, "sh", *jobs.command(cache=tmp_path / "disk", epochs=2)]
    done = subprocess.run(command, cwd=tmp_path, env=jobs.environment, capture_output=True, text=True, timeout=60)
    if done.returncode == 77 or done.stderr.startswith("unshare"):
        pytest.skip(f"mounting is not allowed here: {done.stderr}")
    first, second, kept, third = done.stdout.splitlines()
    assert (first, second, third) == ("first 0", "second 0", "third 0"), done.stderr
    assert done.stderr.count("No space left on device; nothing more is added to it") == 2  # once a run
    assert 5 <= int(kept) < 40
    fetched = jobs.fetched()
    assert len(fetched) == (120 + 120 - int(kept)) + 2 * (120 - int(kept)) + (120 - int(kept))
