"""What docs/protocol.md tells a reader to run is accepted, and its design table is the simulation's."""

import json
import re
import subprocess
import sys
from collections import defaultdict
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sharding.cli import build_parser
from sharding.commands import COMMANDS as SHARDING_COMMANDS
from sharding.format.where import find_samples
from sharding.parser import build_config
from training.commands import COMMANDS
from training.report.simulation import TRAINING

ROOT = Path(__file__).parents[3]
PROTOCOL = (ROOT / "docs/protocol.md").read_text()
ARMS = ("conservative", "flip", "rotation", "aggressive", "scratch", "imagenet", "frozen")
SEPARATOR = "\x1f"
WAYS = ("one noise a run", "four folds with a noise of their own")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PROTOCOL, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """Run the shell blocks in order, with a `depthstream` that only writes down its arguments."""
    folder = tmp_path_factory.mktemp("protocol")
    for place in ("folds", *(f"runs/{arm}-{seed}" for arm in ARMS for seed in range(5))):
        (folder / place).mkdir(parents=True)
    stub = f"depthstream() {{ printf '%s{SEPARATOR}' \"$@\" >> calls; echo >> calls; }}\n"
    subprocess.run(["bash", "-euc", stub + "".join(blocks("bash"))], cwd=folder, check=True, timeout=60)
    return [line.split(SEPARATOR)[:-1] for line in (folder / "calls").read_text().splitlines()]


@pytest.fixture(scope="module")
def options(calls):
    """The options of each call, by command."""
    parser, found = build_parser("depthstream", "", [*SHARDING_COMMANDS, *COMMANDS]), defaultdict(list)
    for words in calls:
        given = parser.parse_args(words)
        found[words[0]].append(build_config(given.command.config, given))
    return found


def test_every_arm_is_pretrained_and_tuned_as_often(options):
    assert {name: len(found) for name, found in options.items()} == {
        "shard": 3, "pretrain": 4 * 6, "finetune": 7 * 3 + 5 + 2 * 5 * 4, "evaluate": 2 * 5 * 4, "compare": 1,
    }  # fmt: skip


def test_a_seed_is_the_whole_chain(options):
    pretrained = {one.out: one.seed for one in options["pretrain"]}
    chained = [one for one in options["finetune"] if one.encoder.startswith("pre/")]
    assert len(chained) > len(options["finetune"]) / 2
    assert all(pretrained[one.encoder] == one.seed for one in chained)


def test_what_is_chosen_is_chosen_with_a_seed_that_is_in_no_arm(options):
    selecting = [one for one in options["finetune"] if one.out.startswith("select/")]
    assert {one.seed for one in selecting} == {100}
    assert {one.seed for one in options["finetune"] if one not in selecting} == set(range(5))
    rates = sorted((Path(one.out).name.split("-")[0], one.learning_rate) for one in selecting)
    assert rates == sorted((arm, rate) for arm in ARMS for rate in (3e-5, 1e-4, 3e-4))


def test_all_arms_have_one_budget_and_never_see_the_validation_set(options):
    budgets = {(one.val, one.epochs, one.batch_size, one.loss, one.augment) for one in options["finetune"]}
    assert budgets == {(None, 50, 32, None, "ours")}
    assert all(one.holdout_scenes for one in options["finetune"])
    assert {one.freeze_epochs for one in options["finetune"] if "frozen" in one.out} == {50}
    assert len({(one.epochs, one.batch_size, one.image_size) for one in options["pretrain"]}) == 1


def test_the_folds_test_each_of_the_twelve_scenes_once(options):
    folds = [one for one in options["finetune"] if one.out.startswith("folds/conservative-0-")]
    tested = [scene for one in folds for scene in one.holdout_scenes.split(",")]
    assert sorted(tested) == [f"{scene:05d}" for scene in range(7, 7 + TRAINING.scenes)]
    for one in folds:
        (where,) = (each.where for each in options["evaluate"] if each.run == one.out)
        index = pd.DataFrame({"scene": sorted(tested)})
        assert index["scene"][find_samples(index, where)].tolist() == one.holdout_scenes.split(",")


def test_contrasts_are_named_beforehand_between_arms_that_there_are(options):
    (compare,) = options["compare"]
    arms = dict(one.split("=") for one in compare.arm)
    assert arms == {arm: ",".join(f"runs/{arm}-{seed}" for seed in range(5)) for arm in ARMS}
    contrasts = [pair.split(":") for pair in compare.contrasts.split(",")]
    assert sorted(contrasts) == sorted(["conservative", arm] for arm in ARMS if arm != "conservative")


@pytest.fixture
def judge_folds(tmp_path, monkeypatch, capsys, fabricate, plausible):
    """A function that runs the lines that judge folds, on what evaluate prints of 5 + 5 runs, and returns their lines.

    The first arm has half the log10 of the other, and its other errors are half, too; shares of right pixels are those
    that `delta` gives an evaluation.
    """
    monkeypatch.chdir(tmp_path)
    Path("folds").mkdir()

    def judge(delta):
        random = np.random.default_rng(0)
        for (arm, level), seed, fold in product((("conservative", 0.1), ("aggressive", 0.2)), range(5), range(4)):
            scenes = [f"{7 + fold + 4 * place:05d}" for place in range(3)]
            images = {f"{scene}_{image}": level * random.uniform(0.97, 1.03) for scene in scenes for image in range(2)}
            printed = json.dumps(delta(fabricate(arm, images)).summary())
            Path(f"folds/{arm}-{seed}-{fold}.json").write_text(printed)
        (code,) = blocks("python")
        exec(code, {})
        return capsys.readouterr().out.splitlines()

    return lambda delta=plausible: judge(delta)


@pytest.mark.slow
def test_the_lines_that_judge_folds_work_on_what_evaluate_prints(judge_folds):
    found, guards = judge_folds()
    assert re.match(r"ratio 0\.50\d \(0\.49\d - 0\.50\d\): better, p = ", found)
    assert re.match(r"guards: abs_rel 0\.50\d, .*, delta1 0\.\d+, log10_edge_cleaned 0\.50\d$", guards)


@pytest.mark.slow
def test_the_lines_that_judge_folds_obey_the_guards(judge_folds):
    found, _ = judge_folds(lambda evaluation: evaluation)  # whose delta1 falls as log10 does
    assert "): undecided, " in found
    assert "delta1" in found


def test_noise_of_folds_in_the_text_is_that_of_the_tables():
    tables = dict(re.findall(r"(?m)^\*\*(.*)\*\*\n\n((?:\|.*\n)+)", PROTOCOL))
    columns = [tables[f"On scenes like twelve, {way}"] for way in WAYS]
    found = re.findall(r"(?m)^\| (\d+) \| (0\.\d\d) \| (0\.\d\d) \|$", PROTOCOL)
    assert len(found) == 3
    for runs, *powers in found:
        rows = [re.search(rf"(?m)^\| {runs} \| (.*) \|$", table)[1].split(" | ") for table in columns]
        assert powers == [row[3] for row in rows]


def test_documents_name_one_file_of_imagenet_s_encoder():
    documents = [(ROOT / f"docs/{name}.md").read_text() for name in ("protocol", "real-run", "tutorial-defects")]
    found = [set(re.findall(r"resnet50-[\w.]+", text)) for text in documents]
    assert found == [{"resnet50-imagenet.pt"}] * 3


def test_all_runs_of_an_arm_are_compared_whatever_the_number_of_their_seed(tmp_path):
    for name in ("flip-0", "flip-9", "flip-10", "frozen-0"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    (of,) = re.findall(r"(?m)^of\(\) .*$", PROTOCOL)
    done = subprocess.run(["bash", "-euc", f"{of}\nof flip"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert sorted(done.stdout.strip().split(",")) == ["runs/flip-0", "runs/flip-10", "runs/flip-9"]


@pytest.mark.slow
def test_the_design_table_is_that_of_the_program():
    program = [sys.executable, ROOT / "scripts/simulate_verdict.py", "--quiet"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=500, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert PROTOCOL.endswith(done.stdout)
