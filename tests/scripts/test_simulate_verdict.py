import re

import pytest
import simulate_verdict
from simulate_verdict import TABLES, SimulateVerdictConfig, run

from training.report import simulation


@pytest.fixture(scope="module")
def outcome():
    return run(SimulateVerdictConfig(experiments=40, seed=0))


def test_it_gives_every_bounded_share_and_table(outcome):
    bounded = {**simulation.MOST_FALSE, **simulation.LEAST_POWER}
    assert bounded.keys() | {"over_images", "missed", "tables", "noise", "experiments", "seed"} <= outcome.data.keys()
    assert set(outcome.data["aa_these_scenes"]) == {"3x3", "5x3", "10x3", "5x12"}
    assert outcome.data["tables"].keys() == TABLES.keys()
    for rows in outcome.data["tables"].values():
        assert len(rows) == 27
        assert all(sum(row[name] for name in simulation.RELATIONS) == pytest.approx(1) for row in rows)


def test_a_table_prints_the_shares_of_its_rows(outcome):
    rows = outcome.data["tables"]["like_12"]
    shares = {(row["run_sd"], row["effect"]): row for row in rows if row["runs"] == 5}
    printed = simulate_verdict.format_table(TABLES["like_12"], rows).splitlines()
    (line,) = (line for line in printed if line.startswith("| 5 |"))
    values = [float(cell) for cell in re.findall(r"[\d.]+", line)[1:]]
    assert values[3:6] == pytest.approx(
        [shares[0.04, 0.1]["better"], shares[0.04, 0.2]["better"], shares[0.04, 0.0]["equivalent"]], abs=0.0051
    )
    assert len(values) == 9


def test_tables_of_one_design_show_the_same_experiments_at_both_levels(outcome):
    alone, of_six = (outcome.data["tables"][name] for name in ("these_3", "these_3_six_contrasts"))
    for one, other in zip(alone, of_six, strict=True):
        setting = ("runs", "scenes", "folds", "run_sd", "arm_scene_sd", "effect")
        assert [one[name] for name in setting] == [other[name] for name in setting]
        assert one["better"] >= other["better"]
    assert any(one["better"] > other["better"] for one, other in zip(alone, of_six, strict=True))


def test_it_fails_only_if_a_bound_is_missed(monkeypatch):
    for name in ("MOST_FALSE", "LEAST_POWER"):
        monkeypatch.setattr(simulation, name, dict(getattr(simulation, name)))
    for name in simulation.MOST_FALSE:
        simulation.MOST_FALSE[name] = 1.0
    simulation.LEAST_POWER["power_10_5x12"] = 0.0
    kept = run(SimulateVerdictConfig(experiments=10, seed=0))
    assert kept.ok
    assert kept.text.endswith("No bound is missed.")
    simulation.LEAST_POWER["power_10_5x12"] = 1.01
    missing = run(SimulateVerdictConfig(experiments=10, seed=0))
    assert not missing.ok
    assert re.search(r"Missed: power_10_5x12: [\d.]+, below 1.01", missing.text)
