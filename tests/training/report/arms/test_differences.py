from training.report.arms.differences import find_factors, join_values
from training.report.arms.run import read_run


def clauses(*groups) -> list[str]:
    runs = [[read_run(folder) for folder in group] for group in groups]
    return [factor.clause([group[0].name for group in groups]) for factor in find_factors(runs)]


def test_factors_are_named_with_both_values(write_run) -> None:
    a, b = write_run("a", learning_rate=1e-3, seed=1), write_run("b", learning_rate=1e-4, height=96, seed=2)
    assert sorted(clauses([a], [b])) == ["crop (768 x 768 | 96 x 768)", "learning rate (0.001 | 0.0001)"]
    assert clauses([a], [write_run("same", learning_rate=1e-3, seed=3, num_workers=0)]) == []


def test_the_factor_of_two_encoders_is_what_their_pretraining_differed_in(write_run, write_encoder) -> None:
    runs = [write_run(kind, encoder=str(write_encoder(f"e/{kind}", augmentation=kind)))
            for kind in ("conservative", "aggressive")]  # fmt: skip
    assert clauses(runs[:1], runs[1:]) == ["encoder (augmentation: conservative | aggressive)"]


def test_random_weights_stand_beside_what_is_special_of_pretrained_ones(write_run, write_encoder) -> None:
    runs = [write_run(kind, encoder=str(write_encoder(f"e/{kind}", augmentation=kind)))
            for kind in ("conservative", "aggressive")]  # fmt: skip
    scratch = write_run("scratch")
    assert clauses(*([run] for run in (*runs, scratch))) == [
        "encoder (augmentation conservative [conservative] | augmentation aggressive [aggressive] | "
        "random weights [scratch])"
    ]
    assert clauses(runs[:1], [scratch]) == ["encoder (dino, conservative | random weights)"]


def test_encoders_of_other_pretraining_sets_differ(write_run, write_encoder) -> None:
    runs = [write_run(f"r-{name}", encoder=str(write_encoder(name, identity=name * 64))) for name in ("a", "b")]
    assert clauses(runs[:1], runs[1:]) == [f"encoder (sets: {'a' * 12} | {'b' * 12})"]


def test_sets_are_named_with_their_identities(write_run) -> None:
    a, b = write_run("a"), write_run("b", {"train": {"identity": "d" * 64, "name": "other"}})
    assert clauses([a], [b]) == [f"training set (train (identity {'a' * 12}) | other (identity {'d' * 12}))"]


def test_values_of_more_than_two_groups_are_told_with_their_names() -> None:
    assert join_values(["8", "16"], ["a", "b"]) == "8 | 16"
    assert join_values(["8", "16", "8"], ["a", "b", "c"]) == "8 [a, c] | 16 [b]"


def test_runs_that_never_opened_their_set_are_not_said_to_be_validated_on_it(write_run) -> None:
    train = {"train": {"identity": "a" * 64, "name": "train", "holdout": ["7"]}}
    held = {"holdout_scenes": "7,", "val": "sets/val", "val_where": "y > 1"}
    a, b = write_run("a", train | {"val_set": {"path": "/sets/val"}}, **held), write_run("b")
    assert clauses([a], [b]) == [
        f"validation set (held-out scenes | val (identity {'b' * 12}))", "held-out scenes (7, | none)"
    ]  # fmt: skip
