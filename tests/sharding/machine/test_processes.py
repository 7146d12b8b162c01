import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from sharding.errors import DataError
from sharding.machine.processes import count_workers, map_ahead, run_jobs
from tests.sharding.shard_runs import environment


def double(number):
    return 2 * number, os.getpid()


def fail_at_three(number):
    if number == 3:
        raise OSError(28, "No space left on device")
    time.sleep(30 if number > 3 else 0)
    return number


def kill_itself(number):
    os.kill(os.getpid(), signal.SIGKILL)


def tell_pid_and_wait(job):
    number, folder = job
    with open(f"{folder}/{number}", "w") as file:
        file.write(str(os.getpid()))
    time.sleep(60 if number else 0.5)
    return number


def gone(pid):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_workers_are_never_more_than_asked_for_or_than_there_are_jobs():
    assert [count_workers(asked, jobs) for asked, jobs in ((1, 9), (3, 9), (9, 3), (2, 0), (0, 0))] == [1, 3, 3, 1, 1]
    assert count_workers(0, 10**6) == os.cpu_count()


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_done_once(workers):
    results = list(run_jobs(double, range(20), workers))
    assert sorted(value for value, _ in results) == list(range(0, 40, 2))
    assert len({pid for _, pid in results}) <= workers
    assert ({pid for _, pid in results} == {os.getpid()}) == (workers == 1)


def test_a_failure_calls_off_the_others_at_once():
    start = time.monotonic()
    with pytest.raises(OSError, match="No space left"):
        list(run_jobs(fail_at_three, range(3, 6), 2))
    assert time.monotonic() - start < 20


def test_closing_the_iterator_ends_the_processes(tmp_path):
    results = run_jobs(tell_pid_and_wait, [(number, str(tmp_path)) for number in range(3)], 2)
    assert next(results) == 0
    results.close()
    told = [path.read_text() for path in tmp_path.iterdir()]
    assert told
    assert all(gone(int(pid)) for pid in told if pid)  # "": ended before it could say


def test_a_killed_process_is_said_in_plain_words():
    with pytest.raises(DataError, match=r"killed.*fewer --workers"):
        list(run_jobs(kill_itself, range(2), 2))


def wait_the_shorter_the_later(number):
    time.sleep(0.02 / (number + 1))
    return number


def test_results_come_in_the_order_of_the_jobs_and_no_more_is_taken_than_weighs_so_much():
    taken, given = [], []

    def jobs():
        for number in range(40):
            taken.append(number)
            assert len(taken) - len(given) <= 7  # 5 that weigh 50, the one just taken, the one being given
            yield number

    with ThreadPoolExecutor(3) as pool:
        for job, result in map_ahead(partial(pool.submit, wait_the_shorter_the_later), jobs(), lambda number: 10, 50):
            assert job == result
            given.append(result)
    assert given == list(range(40))


def raise_at_three(number):
    if number == 3:
        raise OSError(28, "No space left on device")
    return number


def test_what_a_job_raises_comes_at_its_place():
    with ThreadPoolExecutor(2) as pool:
        results = map_ahead(partial(pool.submit, raise_at_three), range(6), lambda number: 1, 100)
        assert [next(results) for _ in range(3)] == [(0, 0), (1, 1), (2, 2)]
        with pytest.raises(OSError, match="No space left"):
            next(results)


def test_a_script_without_a_main_guard_may_use_worker_processes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\nfrom sharding.machine.processes import run_jobs\nprint(sorted(run_jobs(abs, [-1, -2], 2)))\n"
    )
    done = subprocess.run(
        [sys.executable, script], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "once\n[1, 2]\n"), done.stderr
