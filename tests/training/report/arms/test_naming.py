import pytest

from training.report.arms.naming import common_name


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["depth-seed3"], "depth-seed3"),
        (["scratch-seed0", "scratch-seed1"], "scratch"),
        (["scratch_s0", "scratch_s12"], "scratch"),
        (["resnet50-0", "resnet50-1"], "resnet50"),
        (["a10", "a11"], "a"),
        (["depth", "depth2"], "depth"),
        (["seed0-cons", "seed1-cons"], "cons"),
        (["seed0", "seed1"], ""),
        (["0", "1"], ""),
        (["x", "y"], ""),
        (["conservative-run1-a", "conservative-run1-b"], "conservative-run1"),
    ],
)
def test_the_name_of_an_arm_is_what_its_runs_share_without_the_seed(names, expected) -> None:
    assert common_name(names) == expected
