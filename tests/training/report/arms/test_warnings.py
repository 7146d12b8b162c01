import pytest

from training.report.arms.grouping import read_arms
from training.report.arms.warnings import find_warnings


def warnings(*folders, arm=()) -> list[str]:
    return find_warnings(read_arms([str(folder) for folder in folders], list(arm)))


def test_seeds_of_one_arm_and_a_factor_of_interest_are_without_warning(write_run) -> None:
    runs = [write_run(f"{loss}-{seed}", seed=seed, loss=loss) for loss in ("silog", "l1_log") for seed in (0, 1, 2)]
    assert warnings(*runs) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"epochs": 1}, "The arms differ in epochs: 2 | 1."),
        ({"batch_size": 8}, "The arms differ in batch size: 32 | 8."),
        ({"learning_rate": 1e-3}, "The arms differ in learning rate: 0.0001 | 0.001."),
        ({"width": 96}, "The arms differ in crop: 768 x 768 | 768 x 96."),
        ({"scale": 0.5}, "The arms differ in scale: 1 | 0.5."),
        ({"where": "x > 1", "val_where": "y > 1"}, "The arms differ in part of the training set: all | x > 1."),
    ],
)
def test_another_budget_is_a_warning_with_both_values(write_run, options, text) -> None:
    assert text in warnings(write_run("a"), write_run("b", {"epochs": options.get("epochs", 2)}, **options))


def test_other_sets_and_versions_are_warnings_with_both_values(write_run) -> None:
    first = {"versions": {"torch": "2.11", "numpy": "2"}, "revision": "a" * 40, "split": {"micro_batch": 4}}
    second = {"versions": {"torch": "2.12", "numpy": "2"}, "revision": "b" * 40, "split": {"micro_batch": 8},
              "train": {"identity": "d" * 64, "name": "other"}}  # fmt: skip
    assert warnings(write_run("a", first), write_run("b", second)) == [
        f"The arms differ in training set: train (identity {'a' * 12}) | other (identity {'d' * 12}).",
        "The runs differ in the version of torch: 2.11 | 2.12.",
        f"The runs differ in the revision of this program: {'a' * 40} | {'b' * 40}.",
        "The runs differ in the micro-batch, of which BatchNorm takes its statistics: 4 | 8.",
    ]


def test_versions_within_an_arm_are_warned_about_and_unknown_ones_are_not(write_run) -> None:
    runs = [write_run(f"r-{seed}", {"versions": {"torch": v}} if v else {}, seed=seed)
            for seed, v in enumerate(("2.11", "2.12", ""))]  # fmt: skip
    assert warnings(*runs) == ["The runs differ in the version of torch: 2.11 and 2.12."]
    assert warnings(runs[0], runs[2]) == []


def test_unfinished_runs_are_named(write_run) -> None:
    running = write_run("a", {"epochs": 1, "finished": False}, epochs=5)
    early = write_run("b", {"epochs": 3, "finished": True}, epochs=5, loss="l1_log")
    assert warnings(running, early) == [
        "a has not finished: 1 of 5 epochs are done.",
        "b ended early: 3 of 5 epochs are done.",
    ]


def test_runs_of_an_arm_by_hand_that_differ_in_more_than_their_seed_are_warned_about(write_run) -> None:
    a, b = write_run("a", seed=0), write_run("b", seed=1, loss="l1_log")
    (text,) = warnings(arm=[f"mixed={a},{b}"])
    assert text.startswith("The runs of mixed differ in more than their seed: loss (silog | l1_log)")
    assert warnings(arm=[f"pure={a},{write_run('c', seed=2)}"]) == []


def test_repeats_of_one_seed_are_no_new_draws(write_run) -> None:
    runs = [write_run(name, seed=seed) for name, seed in (("r-0", 0), ("r-1", 0), ("r-2", 1))]
    assert warnings(*runs) == [
        "r-0, r-1 of r have the same options and seed 0: repeats, no new draws; the first alone counts."
    ]


def test_one_seed_with_another_encoder_is_a_new_draw(write_run, write_encoder) -> None:
    runs = [write_run(f"r-{seed}", encoder=str(write_encoder(f"e-{seed}", seed=seed, content=bytes([seed]))), seed=0)
            for seed in (0, 1)]  # fmt: skip
    assert warnings(*runs) == []


def test_one_encoder_for_all_seeds_is_told(write_run, write_encoder) -> None:
    encoder = str(write_encoder("e"))
    runs = [write_run(f"r-{seed}", encoder=encoder, seed=seed) for seed in (0, 1)]
    assert warnings(*runs) == [
        "All runs of r begin with the same encoder: their spread does not contain that of pretraining."
    ]


def test_scenes_drawn_by_seed_differ_within_an_arm(write_run) -> None:
    train = {"identity": "a" * 64, "name": "train"}
    runs = [
        write_run(f"a-{at}", {"train": train | {"holdout": [scene]}}, seed=at, holdout_scenes="1")
        for at, scene in enumerate(("00007", "00008"))
    ]
    (text,) = warnings(*runs)
    assert "The runs of a held out different scenes (00007 | 00008)" in text
