"""What docs/protocol.md tells a reader to run is accepted, and its design table is the simulation's."""

import json
import re
import subprocess
import sys
from collections import defaultdict
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


@pytest.mark.slow
def test_the_lines_that_judge_folds_work_on_what_evaluate_prints(tmp_path, monkeypatch, capsys, fabricate):
    (tmp_path / "folds").mkdir()
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for arm, level in (("conservative", 0.1), ("aggressive", 0.2)):
        for seed in range(5):
            for fold in range(4):
                images = {
                    f"{7 + fold + 4 * place:05d}_{image}": level * random.uniform(0.97, 1.03)
                    for place in range(3)
                    for image in range(2)
                }
                Path(f"folds/{arm}-{seed}-{fold}.json").write_text(json.dumps(fabricate(arm, images).summary()))
    (code,) = blocks("python")
    exec(code, {})
    printed = capsys.readouterr().out
    assert printed.startswith("ratio 0.50")
    assert printed.endswith("better\n")


@pytest.mark.slow
def test_the_design_table_is_that_of_the_program():
    program = [sys.executable, ROOT / "scripts/simulate_verdict.py", "--quiet"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=500, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert PROTOCOL.endswith(done.stdout)
