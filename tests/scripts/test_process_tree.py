import os
import subprocess
import sys
import textwrap

import pytest
from making_bench.process_tree import memory, run_watched, tree

from sharding.errors import DataError


def python(code):
    return sys.executable, "-c", textwrap.dedent(code)


ALLOCATE = "import time; held = bytearray(b'x') * (200 << 20); time.sleep(1)"


def test_memory_of_a_grandchild_is_seen():
    used = run_watched(python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ALLOCATE!r}])"))
    assert 200 < used.peak_mib < 300


def test_memory_that_processes_share_counts_once():
    used = run_watched(
        python("""
            import os, time
            held = bytearray(b'x') * (200 << 20)
            if os.fork() == 0:
                time.sleep(1)
                os._exit(0)
            os.wait()
        """)
    )
    if used.memory_is == "rss":
        pytest.skip("shared memory is not told apart here")
    assert 200 < used.peak_mib < 300


BURN = "import time\nwhile time.process_time() < 0.5: pass"


def test_processor_time_of_waited_for_children_counts():
    used = run_watched(python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}])"))
    assert 0.5 <= used.cpu_s < 5
    assert used.cores == used.cpu_s / used.wall_s


def test_processor_time_of_a_process_that_nobody_waits_for_counts():
    # As with the forkserver, which ends after the program that started it.
    used = run_watched(
        python(f"""
            import os, subprocess, sys, time
            child = subprocess.Popen([sys.executable, '-c', {BURN!r}])
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            time.sleep(0.5)
            os._exit(0)
        """)
    )
    assert used.cpu_s >= 0.45  # ticks of 10 ms, user and system


def test_samples_carry_the_progress_and_the_output_is_kept():
    seen = iter(range(1_000_000))
    used = run_watched(python("import time; time.sleep(0.4); print('done')"), progress=lambda: next(seen))
    assert used.output == "done\n"
    counted = [sample.progress for sample in used.samples]
    assert counted == sorted(set(counted))
    assert all(sample.memory_bytes > 0 for sample in used.samples)
    assert used.samples


def test_a_failure_tells_the_status_and_the_last_words():
    with pytest.raises(DataError, match=r"(?s)expected exit status 0, found 3: .*the cause$"):
        run_watched(python("import sys; sys.stderr.write('one\\nthe cause\\n'); sys.exit(3)"))


def test_a_killed_program_is_a_failure():
    with pytest.raises(DataError, match="found -9"):
        run_watched(python("import os; os.kill(os.getpid(), 9)"))


def test_the_tree_has_descendants_and_not_others():
    started = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
    try:
        assert {one.pid for one in started} < set(tree(os.getpid()))
        assert set(tree(started[0].pid)) == {started[0].pid}
    finally:
        for one in started:
            one.kill()
            one.wait()


def test_a_process_that_has_ended_takes_nothing():
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert tree(ended.pid) == {}
    assert memory(ended.pid)[0] == 0
