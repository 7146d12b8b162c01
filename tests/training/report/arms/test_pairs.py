import pytest

from sharding.errors import UsageError
from training.report.arms.pairs import choose_pairs

NAMES = ["a", "b", "c", "x:y"]


def test_without_contrasts_all_pairs_are_compared() -> None:
    assert choose_pairs(None, ["a", "b", "c"]) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert choose_pairs(None, ["a"]) == []


def test_named_contrasts_are_kept_in_order_and_direction() -> None:
    assert choose_pairs("b:a, c:b", NAMES) == [("b", "a"), ("c", "b")]
    assert choose_pairs("x:y:a,c:x:y", NAMES) == [("x:y", "a"), ("c", "x:y")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:d", "no arm named 'd'"),
        ("a:bb", "did you mean b"),
        ("a:a", "a is compared with itself"),
        ("a:b,b:a", "b and a are compared twice"),
        ("a:b,a:b", "a and b are compared twice"),
        ("a", "expected A:B,C:D"),
        ("a:b,", "expected A:B,C:D"),
        (":b", "no arm named ''"),
        ("a:b:c", "expected A:B,C:D"),
    ],
)
def test_wrong_contrasts_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choose_pairs(text, NAMES)


def test_a_name_may_contain_commas() -> None:
    names = ["a", "rate 1, batch 2", "b"]
    assert choose_pairs("a:rate 1, batch 2, rate 1, batch 2:b", names) == [("a", names[1]), (names[1], "b")]
