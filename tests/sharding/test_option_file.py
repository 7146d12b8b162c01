import time
from dataclasses import dataclass

import pytest

from sharding.errors import UsageError
from sharding.option_file import read_file
from sharding.options import argument, option, options_of, parse_bytes


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of every kind."""

    sets: tuple[str, ...] = argument("sets", path="any")
    out: str = option("out", "a folder", path="local")
    epochs: int = option(1, "passes", least=1)
    rate: float = option(0.5, "a rate", above=0)
    deterministic: bool = option(False, "a flag")
    seed: int = option(0, "a seed")
    where: str | None = option(None, "a query")
    size: int = option(1000, "a size", parse=parse_bytes)


@pytest.fixture
def read(tmp_path):
    def from_text(text):
        file = tmp_path / "c.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_file(str(file), options_of(Config))

    return from_text


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("# nothing", {}),
        ("epochs: 3", {"epochs": 3}),
        ("epochs: '3'", {"epochs": 3}),
        ("rate: 1e-4", {"rate": 1e-4}),  # text to YAML 1.1, which wants 1.0e-4
        ("rate: 2", {"rate": 2.0}),
        ("deterministic: true", {"deterministic": True}),
        ("deterministic: off", {"deterministic": False}),
        ("where: null", {"where": None}),
        ("where: ~", {"where": None}),
        ("where: >\n  height > 3\n", {"where": "height > 3\n"}),
        ("out: 2024-01-01", {"out": "2024-01-01"}),
        ("out: 0123", {"out": "0123"}),
        ("out: no", {"out": "no"}),
        ("sets: [a, 's3://b/c']", {"sets": ("a", "s3://b/c")}),
        ("sets: a", {"sets": ("a",)}),
        ("size: 2KB", {"size": 2000}),
        ("size: 2000", {"size": 2000}),
    ],
)
def test_a_scalar_is_read_as_the_same_word_on_the_command_line(read, text, values):
    assert read(text) == values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs: 2.5", "line 1: epochs: expected a whole number of at least 1, found '2.5'"),
        ("epochs: true", "epochs: expected a whole number of at least 1, found true"),
        ("out: x\nepochs: 0", "line 2: epochs: expected a whole number of at least 1, found 0"),
        ("epochs: null", "epochs: expected a whole number of at least 1, found null"),
        ("seed: ~", "seed: expected a whole number, found null"),
        ("seed:", "seed: expected a whole number, found null"),
        ("deterministic: maybe", "deterministic: expected true or false, without quotes, found 'maybe'"),
        ("deterministic: 'no'", "expected true or false, without quotes, found 'no'"),
        ("deterministic: 1", "found '1'"),
        ("deterministic: 'true'", "without quotes"),
        ("out: {a: 1}", "out: expected text, found a mapping"),
        ("out: [a]", "out: expected text, found a list"),
        ("out: true", "quote it"),
        ("out: s3://bucket/run", "expected a path on this machine"),
        ("sets: []", "expected at least one"),
        ("sets: [[a]]", "found a list"),
        ("sets: {a: 1}", "found a mapping"),
        ("sets: [a, null]", "found null"),
        ("rate: .nan", "found '.nan'"),
        ("rate: .inf", "found '.inf'"),
        ("epoch: 3", "no option named epoch; did you mean epochs?"),
        ("nonsense: 3", "no option named nonsense; there are deterministic, epochs"),
        ("epochs: 3\nepochs: 4", "line 2: epochs is given twice"),
        ("[a]: 3", "expected the name of an option"),
        ("- epochs", "expected a mapping of option names to values, found a list"),
        ("epochs", "expected a mapping of option names to values, found text"),
        ("epochs: [", "expected a readable YAML file"),
        ("a: 1\n---\nb: 2", "expected a readable YAML file"),
        ("out: !!python/object/apply:os.system ['true']", "line 1: tags are not read, found tag:yaml"),
        ("out: !!binary aGVsbG8=", "tags are not read, found tag:yaml.org,2002:binary: write the value alone"),
        ("out: !!str x", "tags are not read"),
        ("!!map {out: x}", "tags are not read"),
        ("out: !mine x", "tags are not read, found !mine: write the value alone"),
        ("out: &a x\nsets: [*a]", "line 2: aliases are not read"),
        ("sets: &a [*a]", "aliases are not read"),
        ("<<: {epochs: 3}", "no option named <<"),
        (b"out: \xff", "expected a readable YAML file"),
        (b"out: \x00", "expected a readable YAML file"),
        ('out: "a\\0b"', "without control characters"),
        ("[" * 300_000, "line 1: nested too deeply"),
        ("out: [[[[[[[[x]]]]]]]]", "line 1: nested too deeply"),
        ("out: " + "x" * 1_000_001, "expected a file of options, found more than 1000000 bytes"),
    ],
)
def test_what_is_no_option_is_refused_with_file_line_and_name(read, text, said):
    with pytest.raises(UsageError, match=r"--config .*c\.yaml") as raised:
        read(text)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_aliases_that_would_grow_for_ever_end_at_once(read):
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 200)]
    begin = time.process_time()
    with pytest.raises(UsageError, match="aliases are not read"):
        read("\n".join(lines))
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("path", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_named(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"expected a readable YAML file: (No such file|Is a directory)"):
        read_file(path, options_of(Config))
