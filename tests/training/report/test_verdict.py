"""Claims and guards in words."""

from training.report.verdict import Claim, Contrast, Guard, headline, percent


def contrast(first: str = "better", second: str = "undecided", ratio: float = 0.8, guards=()) -> Contrast:
    low, high = {"low": ratio * 0.9, "high": ratio * 1.1}.values()
    these, like = (
        Claim(ratio=ratio, low=low, high=high, df=3.5, p_value=0.01, relation=relation, reason="the reason")
        for relation in (first, second)
    )
    return Contrast(a="x", b="y", metric="log10", these_scenes=these, scenes_like_these=like, guards=guards)


def test_sentences_hold_relation_numbers_and_reason() -> None:
    assert contrast().sentences() == [
        "On these scenes, x is better than y: log10 is 20 % lower with x "
        "(ratio 0.800, 95 % interval 0.720 to 0.880, df 3.5); the reason.",
        "On scenes like these, x against y is undecided: log10 is 20 % lower with x "
        "(ratio 0.800, 95 % interval 0.720 to 0.880, df 3.5); the reason.",
    ]


def test_the_headline_says_what_was_decided() -> None:
    assert headline([contrast()]) == "x is better than y on these scenes; on scenes like these it is undecided."
    assert headline([contrast("equivalent", "equivalent")]) == (
        "x and y are equivalent in log10, on these scenes and on scenes like these."
    )
    assert headline([contrast(), contrast("undecided")]) == (
        "x is better than y on these scenes; on scenes like these 0 of 2 contrasts are decided."
    )
    assert headline([contrast("undecided"), contrast("undecided")]).startswith("No arm is shown to be better")
    assert headline([contrast()] * 4) == (
        "4 of 4 contrasts are decided on these scenes; on scenes like these 0 of 4 contrasts are decided."
    )


def test_equivalence_is_of_the_deciding_metric_and_tells_the_guards_that_are_worse() -> None:
    guards = tuple(
        Guard(name=name, metric=name, protocol="headline", ratio=ratio, worse=worse)
        for name, ratio, worse in (("abs_rel", 1.25, "a"), ("rmse", 1.0, ""), ("silog", 0.8, "b"))
    )
    found = contrast("equivalent", "undecided", guards=guards)
    assert found.relation_words(found.these_scenes) == (
        "x and y are equivalent in log10 (abs_rel is 25 % higher with x, silog is 25 % higher with y)"
    )


def test_guards_are_said_for_the_arm_that_is_worse() -> None:
    def clause(name: str, metric: str, ratio: float, protocol: str = "headline") -> str:
        return Guard(name=name, metric=metric, protocol=protocol, ratio=ratio, worse="a").clause()

    assert clause("abs_rel", "abs_rel", 1.25) == "abs_rel is 25 % higher"
    assert clause("abs_rel", "abs_rel", 0.8) == "abs_rel is 25 % higher"
    assert clause("delta1", "delta1", 1.25) == "delta1 is 20 % lower"
    assert clause("log10_edge_cleaned", "log10", 1.5, "edge_cleaned") == "log10 edge-cleaned is 50 % higher"


def test_shares_are_printed_as_percent() -> None:
    assert [percent(share) for share in (0.25, 0.0994, 0.004, 1e-5)] == ["25 %", "9.9 %", "0.4 %", "less than 0.1 %"]


def test_an_interval_without_an_upper_end_is_told_in_words() -> None:
    claim = Claim(ratio=0.5, low=0.0, high=None, low90=0.0, high90=2e6, df=0.5, p_value=0.9, p_adjusted=0.9)
    contrast = Contrast(a="a", b="b", metric="log10", these_scenes=claim, scenes_like_these=claim, guards=())
    assert "95 % interval 0.000 to above 1000" in contrast.sentences()[0]


def test_a_guard_tells_its_ratio_and_the_worse_arm() -> None:
    guard = Guard(name="abs_rel", metric="abs_rel", protocol="headline", ratio=1.142, worse="a")
    assert guard.text({"a": "near", "b": "far"}) == "abs_rel 1.142 (near is worse)"
