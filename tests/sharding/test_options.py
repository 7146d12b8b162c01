import dataclasses
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharding.errors import UsageError
from sharding.options import argument, checked, option, options_of, parse_bytes


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of every kind."""

    words: tuple[str, ...] = argument("words", metavar="WORD")
    count: int = option(3, "a count", least=1, most=9)
    rate: float = option(0.5, "a rate", above=0)
    share: float = option(0.5, "a share", above=0, below=1)
    loud: bool = option(False, "a flag")
    kind: Literal["a", "b"] = option("a", "a kind")
    size: int = option(1000, "a size", parse=parse_bytes, least=1)
    limit: int | None = option(None, "a limit", least=0)
    out: str = option("out", "a folder", path="local")
    set: str = option("set", "a set", path="any")
    devices: str = option("auto", "devices", pattern=r"auto|[1-9]", expected="auto or a digit")


OPTIONS = {one.name: one for one in options_of(Config)}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("count", "9", 9),
        ("count", "+4", 4),
        ("rate", "1e-4", 1e-4),
        ("rate", "3", 3.0),
        ("share", "0.999", 0.999),
        ("loud", "true", True),
        ("loud", "False", False),
        ("kind", "b", "b"),
        ("size", "1.5GB", 1_500_000_000),
        ("limit", "0", 0),
        ("out", "a folder/b", "a folder/b"),
        ("set", "s3://bucket/~x", "s3://bucket/~x"),
        ("devices", "7", "7"),
        ("words", "réseau", "réseau"),
    ],
)
def test_text_becomes_a_value_of_the_type_of_the_field(name, text, value):
    found = OPTIONS[name].read(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("count", "2.5", "expected a whole number of at least 1 and of at most 9, found '2.5'"),
        ("count", "0", "expected a whole number of at least 1 and of at most 9, found 0"),
        ("count", "10", "found 10"),
        ("count", "1_0", "found '1_0'"),
        ("count", "9" * 30, "of 64 bits"),
        ("count", "", "found ''"),
        ("rate", "nan", "expected a number above 0, found nan"),
        ("rate", "inf", "found inf"),
        ("rate", "0", "found 0.0"),
        ("rate", "fast", "found 'fast'"),
        ("share", "1", "expected a number above 0 and below 1, found 1.0"),
        ("share", "0", "found 0.0"),
        ("loud", "maybe", "expected true or false, found 'maybe'"),
        ("loud", "1", "found '1'"),
        ("kind", "c", "expected one of a, b, found 'c'"),
        ("size", "10XB", "expected a size such as 256MB, 1.5GB or 4096, found '10XB'"),
        ("size", "inf", "found 'inf'"),
        ("size", "nanKB", "found 'nanKB'"),
        ("size", "1e400", "found '1e400'"),
        ("limit", "-1", "found -1"),
        ("out", "s3://bucket/run", "expected a path on this machine, found the URL s3://bucket/run"),
        ("out", "", "found nothing"),
        ("out", "a\0b", "without control characters"),
        ("out", "a\nb", "without control characters"),
        ("out", "\udcff", "in UTF-8"),
        ("out", "~nobody-is-called-so/x", "no such home folder"),
        ("devices", "0", "expected auto or a digit, found '0'"),
        ("words", " ", "found nothing"),
    ],
)
def test_text_that_is_no_value_is_refused_with_what_was_expected(name, text, said):
    with pytest.raises(ValueError, match="expected") as raised:
        OPTIONS[name].read(text)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 2.0),
        ("count", True),
        ("count", "2"),
        ("count", None),
        ("rate", math.nan),
        ("rate", True),
        ("loud", "no"),
        ("loud", 1),
        ("kind", "c"),
        ("words", ()),
        ("words", "word"),
        ("words", (1,)),
        ("limit", -1),
        ("out", {"a": 1}),
        ("out", "http://host/run"),
        ("out", Path("s3://bucket/run")),
        ("count", 10**30),
        ("rate", 10**400),
        ("size", 0),
        ("size", -5),
    ],
)
def test_a_value_from_python_of_another_type_or_range_is_a_usage_error(name, value):
    values = {"words": ("w",), name: value}
    with pytest.raises(UsageError, match=OPTIONS[name].flag):
        checked(Config(**values))


def test_what_is_checked_is_otherwise_as_it_was():
    config = Config(words=("a", "b"), count=9, limit=7, out="x")
    assert checked(config) == config


def test_home_folders_are_expanded_in_paths_alone(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    config = checked(Config(words=("~/x",), out="~/run", set="~"))
    assert (config.words, config.out, config.set) == (("~/x",), "/home/me/run", "/home/me")
    assert checked(Config(words=("w",), out="./~")).out == "./~"


def test_paths_are_taken_as_text():
    assert checked(Config(words=("w",), out=Path("a/b"))).out == "a/b"


@given(st.integers(-(2**62), 2**62))
def test_whole_numbers_are_read_back_or_out_of_range(number):
    if 1 <= number <= 9:
        assert OPTIONS["count"].read(str(number)) == number
    else:
        with pytest.raises(ValueError, match=f"found {number}"):
            OPTIONS["count"].read(str(number))


@given(st.text(), st.sampled_from(sorted(OPTIONS)))
def test_no_text_raises_anything_but_a_value_error_in_one_line(text, name):
    said = "expected nothing"
    try:
        OPTIONS[name].check_one(OPTIONS[name].read(text))
    except ValueError as error:
        said = str(error)
    assert said.startswith("expected")
    assert os.linesep not in said


@pytest.mark.parametrize(
    ("text", "size"), [("256MB", 256_000_000), ("1.5GB", 1_500_000_000), ("4096", 4096), ("10kb", 10_000)]
)
def test_sizes_are_read_with_their_unit(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "0", "3XB", "inf", "nan", "1e400", "0.0001", "1 2MB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="expected a size"):
        parse_bytes(text)


def test_a_default_is_a_value():
    for one in options_of(Config):
        if one.default is not dataclasses.MISSING:
            assert one.check(one.default) == one.default
