import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from scripts.profile_throughput import get_ranges
from sharding.reading.shard_set import ShardSet
from tests.servers import answer, answer_range, web_server
from training.config import ProfileConfig
from training.profiling.work import plan_work

SCRIPT = Path(__file__).parents[2] / "scripts/profile_throughput.py"
LITTLE = ("--samples", "2", "--repeats", "1", "--num-workers", "0", "--height", "48", "--width", "64")


def call(*argv):
    return subprocess.run([sys.executable, SCRIPT, *argv], capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_the_json_goes_to_stdout_and_the_tables_to_stderr(diode_sets):
    done = call(diode_sets[1].url, *LITTLE)
    assert done.returncode == 0
    data = json.loads(done.stdout)
    assert data["samples"] == 2
    assert data["verdict"]["text"] in done.stderr.splitlines()
    ceiling = data["ceiling"]
    sizes = {path.stat().st_size for path in Path(diode_sets[1].url, "shards").iterdir()}
    for which in ("cold", "warm"):
        one = ceiling[which]
        assert one["bytes"] in {*sizes, sum(sizes)}
        assert 0 < one["mb_per_s_min"] <= one["mb_per_s"] <= one["mb_per_s_max"]
        assert f"ceiling, {which}: " in done.stderr
    assert ceiling["of_stage"].keys() == {*data["stages"], "chain"}
    stored = data["chain"]["mb_per_s"] / ceiling["warm"]["mb_per_s"]
    assert ceiling["of_stage"]["chain"] == pytest.approx(stored)


@pytest.mark.slow
def test_the_ceiling_of_a_url_is_what_comes_of_the_same_ranges(diode_sets, tmp_path, range_server):
    shutil.copytree(diode_sets[1].url, tmp_path / "set")
    done = call(f"http://127.0.0.1:{range_server.server_address[1]}/set", *LITTLE)
    assert done.returncode == 0
    ceiling = json.loads(done.stdout)["ceiling"]
    assert ceiling["cold"] is None
    assert ceiling["warm"]["threads"] == 32
    *_, last = [asked for path, asked in range_server.requests if "/shards/" in path]
    first, end = map(int, last.removeprefix("bytes=").split("-"))
    assert end - first + 1 <= ceiling["warm"]["bytes"]


def test_the_ranges_of_a_url_are_got_side_by_side(diode_sets):
    together = threading.Barrier(8, timeout=20)

    def respond(handler):
        data = Path(diode_sets[1].url, *handler.path.split("/")[2:]).read_bytes()
        if not handler.headers["range"]:
            return answer(handler, 200, data)
        together.wait()  # breaks unless so many requests are here at once
        return answer_range(handler, data)

    with web_server(respond) as server:
        opened = ShardSet(f"{server.url}/set")
        work = plan_work(opened, ProfileConfig(set="", samples=8))
        assert get_ranges(work) == sum(
            length for row in work.rows() for _, length in opened.reader.ranges(int(row), work.parts)
        )


def test_a_missing_set_is_told():
    done = call("nowhere")
    assert done.returncode == 2
    assert "nowhere: expected a shard set with manifest.json" in done.stderr
