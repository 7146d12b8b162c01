"""The program on a CPU: three of its parts by default, all of it slow; and what happens when a part fails."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "scripts/on_gpu.py", "--device", "cpu", "--tiny", "--json"]
NEEDS_GPU = {
    *("precision.bf16_losses", "precision.fp16_losses"),
    *("stopping.from_gpu_to_cpu", "stopping.from_cpu_to_gpu", "stopping.memory_given_back", "stopping.out_of_memory"),
    *("ranks.nccl_one_process", "ranks.synchronised_batchnorm", "ranks.validation", "ranks.nccl_stopped"),
    *("memory.small", "memory.large", "memory.small_bf16", "memory.large_bf16"),
    *("step.eager_tf32", "step.eager_float32"),
    *("feed.transfer", "views.decode_jpeg"),
    *("cards.nccl_two_processes", "cards.failing_rank", "cards.unequal_memory"),
}
"""What a CPU cannot do: exactly this is null."""


def run_program(out, *options):
    done = subprocess.run([*PROGRAM, "--out", str(out), *options], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout), done.stderr


def named(data):
    return {f"{part}.{name}": one for part, found in data["parts"].items() for name, one in found["checks"].items()}


@pytest.mark.slow
def test_the_whole_program_runs_on_a_cpu_within_five_minutes(tmp_path):
    begin = time.monotonic()
    data, _ = run_program(tmp_path / "out", "--minutes", "20")
    assert time.monotonic() - begin < 15 * 60  # 5 minutes on an idle machine
    found = named(data)
    assert {name for name, one in found.items() if one["ok"] is None} == NEEDS_GPU
    assert {name for name, one in found.items() if one["ok"] is False} == set()
    assert all(one["why"] for one in found.values() if one["ok"] is None)
    assert json.loads((tmp_path / "out/results.json").read_text()) == data
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["logs.txt", "results.json"]


@pytest.mark.slow
def test_relations_that_hold_on_a_cpu_too(tmp_path):
    """Resumed bit for bit, evaluated alike, and a stall seen; a whole run has the same keys."""
    wanted = ["precision.evaluate", "stopping.killed_and_resumed", "feed.stall_seen"]
    data, said = run_program(tmp_path / "out", "--only", *wanted, "--minutes", "20")
    found = named(data)
    assert [found[name]["ok"] for name in wanted] == [True, True, True]
    assert found["precision.float32_first_loss"]["figures"]["value"] <= 1e-6
    assert found["feed.workers"] == {"ok": None, "why": "not asked for", "figures": {}}
    assert "data: " in said


@pytest.fixture
def runner(monkeypatch) -> ModuleType:
    from gpu_checks import runner

    monkeypatch.setattr(runner, "CPU_FACTOR", 1)
    return runner


def part(*stages, limit_s=30.0):
    module = ModuleType("made")
    module.STAGES, module.LIMIT_S = stages, limit_s
    return module


def run_made(runner, monkeypatch, folder, parts, minutes=1.0):
    """Results of made parts, by name."""
    from gpu_checks.bench import TINY, Bench

    for name, module in parts.items():
        monkeypatch.setitem(sys.modules, f"gpu_checks.{name}", module)
    results = runner.Results(folder / "results.json", {"device": "cpu"})
    bench = Bench(accelerator="cpu", sizes=TINY, folder=folder, workers=0)
    list(runner.run_parts(bench, dict.fromkeys(parts, ""), results, minutes))
    assert json.loads((folder / "results.json").read_text()) == results.data
    return results.data["parts"]


def test_a_stage_that_raises_leaves_the_results_of_all_others(runner, monkeypatch, tmp_path):
    from gpu_checks.check import Check, unable

    def good(bench):
        yield Check(name="one", ok=True, figures={"ms": 2.5, "rows": [float("nan")]})

    def bad(bench):
        yield unable("two", "needs a GPU")
        raise ValueError("expected 3, found 4\nand more")

    def last(bench):
        yield Check(name="four", ok=True)

    parts = {"a": part((("one",), good)), "b": part((("two", "three"), bad), (("four",), last))}
    found = run_made(runner, monkeypatch, tmp_path, parts)
    assert found["a"]["checks"] == {"one": {"ok": True, "why": "", "figures": {"ms": 2.5, "rows": ["nan"]}}}
    assert found["b"]["failed"] == ""
    assert found["b"]["checks"] == {
        "two": {"ok": None, "why": "needs a GPU", "figures": {}},
        "three": {"ok": False, "why": "ValueError: expected 3, found 4", "figures": {}},
        "four": {"ok": True, "why": "", "figures": {}},
    }


@pytest.mark.slow
def test_a_part_that_hangs_or_dies_is_ended_with_all_it_started(runner, monkeypatch, tmp_path):
    from gpu_checks.check import Check
    from gpu_checks.runs import count_left, start

    def hang(bench):
        yield Check(name="one", ok=True)
        # A session of its own, in which another one begins, as torchrun starts its ranks.
        inner = start([sys.executable, "-c", NESTED, str(tmp_path / "pids")], tmp_path / "log")
        inner.wait()

    def die(bench):
        yield Check(name="one", ok=True)
        time.sleep(1.0)  # until it has arrived
        os._exit(7)

    stages = (("one", "two"), hang), (("three",), hang)
    parts = {"a": part(*stages, limit_s=5.0), "b": part((("one", "two"), die))}
    found = run_made(runner, monkeypatch, tmp_path, parts)
    assert found["a"]["failed"] == "it took longer than 5 s"
    assert found["b"]["failed"] == "its process ended with status 7"
    assert [found[name]["checks"]["one"]["ok"] for name in "ab"] == [True, True]
    assert found["a"]["checks"]["three"]["why"] == "not reached: it took longer than 5 s"
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert [count_left(pid) for pid in pids] == [0, 0]


NESTED = """
import os, subprocess, sys
inner = subprocess.Popen(["sleep", "600"], start_new_session=True)
open(sys.argv[1], "w").write(f"{os.getpid()} {inner.pid}")
inner.wait()
"""


def test_the_limits_of_what_one_card_can_do_fit_nine_minutes(runner):
    limits = [importlib.import_module(f"gpu_checks.{part}").LIMIT_S for part in runner.PARTS if part != "cards"]
    assert sum(limits) <= 9 * 60 - 10  # the data


def test_time_that_a_part_leaves_is_for_those_after_it(runner, monkeypatch, tmp_path):
    from gpu_checks.bench import TINY, Bench

    given = {}
    monkeypatch.setattr(
        runner, "_run_part", lambda bench, part, until, results, limit_s: given.update({part: limit_s}) or ""
    )
    parts = ("step", "feed", "cards")
    limits = {part: importlib.import_module(f"gpu_checks.{part}").LIMIT_S for part in parts}
    bench = Bench(accelerator="cuda", sizes=TINY, folder=tmp_path, workers=0)
    list(runner.run_parts(bench, dict.fromkeys(parts, ""), runner.Results(tmp_path / "r.json", {}), 10.0))
    assert given == pytest.approx(
        {"step": 600 - limits["feed"] - limits["cards"], "feed": 600 - limits["cards"], "cards": 600}, abs=1
    )
    list(runner.run_parts(bench, dict.fromkeys(parts, ""), runner.Results(tmp_path / "r.json", {}), 1.0))
    assert given == pytest.approx({"step": limits["step"], "feed": limits["feed"], "cards": 60}, abs=1)


def test_what_does_not_fit_the_minutes_says_so(runner, monkeypatch, tmp_path):
    found = run_made(runner, monkeypatch, tmp_path, {"a": part((("one",), lambda bench: iter(())))}, minutes=0.0)
    assert found["a"]["failed"] == "the time was up"
    assert found["a"]["checks"]["one"] == {
        "ok": False, "why": "not reached: the time was up", "figures": {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        *(
            pytest.param(("--device", "cpu", "--only", only), said, marks=pytest.mark.slow)  # imports torch: seconds
            for only, said in (
                ("precison", "--only precison: expected some of precision, stopping, ranks"),
                ("feed.stall", "--only feed.stall: expected one of stall_seen, transfer"),
            )
        ),
        (("--device", "cuda"), "--device cuda: nvidia-smi finds no GPU"),
    ],
)
def test_what_cannot_be_is_said(tmp_path, options, said):
    command = [sys.executable, "scripts/on_gpu.py", "--out", str(tmp_path / "out"), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"PATH": ""})
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "out").exists()
