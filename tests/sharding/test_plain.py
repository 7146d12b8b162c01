import json
import math
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding.errors import UsageError
from sharding.option_file import read_file
from sharding.options import checked, option, options_of
from sharding.parser import CommandParser, explain_unknown
from sharding.plain import MAX_DEPTH, MAX_VALUES, copy_mapping
from training.runfolder import _OptionsDumper


@dataclass(frozen=True, kw_only=True)
class Config:
    """A mapping, and a number that may be a word."""

    extra: dict[str, Any] | None = option(None, "a mapping of what is not an option of its own")
    epochs: int | Literal["auto"] = option(1, "passes", least=0)


OPTIONS = {one.name: one for one in options_of(Config)}
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=8,
)


def read(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    return read_file(str(tmp_path / "c.yaml"), options_of(Config))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", {}),
        ("{lr: 1e-4, betas: [0.9, .99], nesterov: true}", {"lr": 1e-4, "betas": [0.9, 0.99], "nesterov": True}),
        ("{a: null, b: ~, c: , d: ''}", {"a": None, "b": None, "c": None, "d": ""}),
        ("{a: '1', b: \"true\", c: 010}", {"a": "1", "b": "true", "c": 10}),
        ("{a: -3, b: 2., c: 1E3}", {"a": -3, "b": 2.0, "c": 1000.0}),
        ("{day: 2024-01-01, name: a b}", {"day": "2024-01-01", "name": "a b"}),
        ("{one: {two: {three: [[1]]}}}", {"one": {"two": {"three": [[1]]}}}),
        ("null", None),
    ],
)
def test_a_mapping_has_the_values_that_its_words_look_like(tmp_path, text, value):
    found = read(tmp_path, f"extra: {text}")["extra"]
    assert found == value
    assert json.dumps(found) == json.dumps(value)  # types too: 1 == 1.0 == True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("3", "extra: expected a mapping of names to values, found '3'"),
        ("[1]", "extra: expected a mapping of names to values, found a list"),
        ("{a: yes}", "extra: line 1: yes is read in more than one way"),
        ("{a: 0x10}", "0x10 is read in more than one way"),
        ("{a: 1_000}", "1_000 is read in more than one way"),
        ("{a: .inf}", ".inf is read in more than one way"),
        ("{a: 123456789012345678901}", "is read in more than one way"),
        ("{a: 9223372036854775808}", "a: expected null, true, false, text, a finite number of at most 64 bits"),
        ("{1: a}", "line 1: expected a name as text; quote it"),
        ("{[a]: b}", "expected a name as text"),
        ("{<<: {a: 1}}", "expected a name as text"),
        ("\n  a: 1\n  b: {c: 2, c: 3}", "line 3: c is given twice"),
        ("{a: &x 1, b: *x}", "aliases are not read"),
        ("{a: !!python/name:os.system ''}", "tags are not read"),
        ("{a: [[[[[[1]]]]]]}", "a[0][0][0][0][0][0]: expected at most"),
        ("{" + "a: {" * 20 + "}" * 21, "nested too deeply"),
    ],
)
def test_what_is_no_plain_value_is_refused(tmp_path, text, said):
    with pytest.raises(UsageError) as raised:
        read(tmp_path, f"extra: {text}")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([1], "expected a mapping of names to values, found [1]"),
        ({"a": {"b": [0, math.nan]}}, "a.b[1]: expected null, true, false, text, a finite number"),
        ({"a": {3: 1}}, "a: expected names as text, found 3"),
        ({"a": print}, "a: expected null"),
        ({"a": "\0"}, "a: expected null"),
        ({"a": 2**63}, "a: expected null"),
        ({"a": [0] * MAX_VALUES}, f"expected at most {MAX_VALUES} values"),
    ],
)
def test_a_mapping_from_python_is_checked_by_place(value, said):
    with pytest.raises(UsageError, match=r"^extra: ") as raised:
        checked(Config(extra=value))
    assert said in str(raised.value)


def test_a_mapping_is_copied_and_its_tuples_are_lists():
    inner = {"betas": (0.9, 0.99)}
    value = {"optim": inner}
    found = checked(Config(extra=value)).extra
    assert found == {"optim": {"betas": [0.9, 0.99]}}
    assert inner == {"betas": (0.9, 0.99)}
    deep = current = {}
    for _ in range(MAX_DEPTH):
        current["a"] = {}
        current = current["a"]
    assert copy_mapping(deep) == deep
    current["a"] = {}
    with pytest.raises(ValueError, match="levels of lists and mappings"):
        copy_mapping(deep)


@settings(max_examples=60)
@given(st.dictionaries(st.text(min_size=1), PLAIN, max_size=4))
def test_a_saved_mapping_is_read_back_or_is_none(tmp_path_factory, value):
    try:
        wanted = copy_mapping(value)
    except ValueError:
        return
    file = tmp_path_factory.getbasetemp() / "saved.yaml"
    file.write_text(yaml.dump({"extra": wanted}, Dumper=_OptionsDumper, sort_keys=False))
    found = read_file(str(file), options_of(Config))["extra"]
    assert json.dumps(found) == json.dumps(wanted)


def test_a_number_may_be_one_of_some_words(tmp_path):
    assert (OPTIONS["epochs"].read("auto"), OPTIONS["epochs"].read("7")) == ("auto", 7)
    assert read(tmp_path, "epochs: auto") == {"epochs": "auto"}
    assert checked(Config(epochs="auto")).epochs == "auto"
    for wrong in ("Auto", "1.5", "-1", ""):
        with pytest.raises(ValueError, match="expected auto or a whole number of at least 0, found"):
            OPTIONS["epochs"].read(wrong)
    with pytest.raises(UsageError, match="--epochs: expected auto or a whole number of at least 0, found 'none'"):
        checked(Config(epochs="none"))


def test_a_mapping_is_in_the_help_and_no_option_of_the_command_line():
    parser = CommandParser(prog="p", add_help=False)
    parser.add_options(Config)
    text = parser.format_help()
    assert "extra" in text
    assert "--extra" not in text
    assert explain_unknown(["--extra", "{a: 1}"], Config) == (
        "--extra is a mapping, which a command line cannot have: write extra into a file, --config FILE.yaml"
    )
