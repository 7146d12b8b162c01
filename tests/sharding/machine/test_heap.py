"""Freed memory is kept: seen by the pages that the kernel has to bring, in processes of their own."""

import os
import subprocess
import sys

import pytest

CHURN = """
import resource, sys
from sharding.machine.heap import keep_freed_memory

def churn():
    for _ in range(50):
        blocks = [bytearray(3_000_000) for _ in range(4)]
        del blocks

def pages():
    churn()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    churn()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if __name__ == "__main__":
    kept = keep_freed_memory() if sys.argv[1] == "keep" else None
    print(kept, pages())
"""
GIVEN_BACK = 50 * 2900  # four blocks of 3 MB in pages of 4 KiB, each time


def run(how, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", CHURN, how], env=environment | variables, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    said, pages = done.stdout.split()
    return said, int(pages)


@pytest.mark.skipif("glibc" not in os.confstr("CS_GNU_LIBC_VERSION"), reason="the C library is another one")
def test_a_process_that_keeps_its_memory_asks_for_no_page_twice():
    assert run("keep") == ("True", pytest.approx(0, abs=50))
    assert run("plain")[1] > GIVEN_BACK / 2  # what it would have been


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables", [{"MALLOC_TRIM_THRESHOLD_": "1"}, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=1"}]
)
def test_who_says_otherwise_is_obeyed(variables):
    assert run("keep", **variables)[0] == "False"
