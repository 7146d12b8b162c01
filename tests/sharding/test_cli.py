import dataclasses
import json
import math
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import pytest

from sharding import cli as program
from sharding.cli import Command, Outcome, build_parser
from sharding.commands import COMMANDS as SHARDING
from sharding.errors import DataError, UsageError
from sharding.limits import _factor
from sharding.options import argument, option, options_of, parse_bytes, required
from sharding.parser import build_config
from training.commands import COMMANDS as TRAINING


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the test command."""

    name: str = argument("what to greet")
    size: int = option(1000, "how large", parse=parse_bytes)
    often: int = required("how often")
    loud: bool = option(False, "whether to shout")


def greet(config):
    if config.name == "nobody":
        raise DataError("expected somebody, found nobody")
    if config.often < 1:
        raise UsageError("--often must be at least 1")
    return Outcome(data={"often": config.often, "size": config.size}, text="hello", ok=config.name != "half")


COMMAND = Command(
    name="greet", config=Config, runner=f"{__name__}:greet", help="greet", examples=("greet you --often 1",)
)


ENDINGS = {"you --often 1": 0, "half --often 1": 1, "nobody --often 1": 1, "you --often 0": 2, "you": 2}


@pytest.mark.parametrize(("argv", "status"), [(line.split(), status) for line, status in ENDINGS.items()])
def test_exit_status_tells_data_from_usage(argv, status, monkeypatch):
    monkeypatch.setattr(Command, "run", lambda self, config: greet(config))
    assert program.main("test", "tests", [COMMAND], ["greet", *argv]) == status


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(28, "No space left on device"),
            "a file: No space left on device; make room, and run it again",
        ),
        (OSError(28, "buf = 0x55", "x/y"), "x/y: No space left on device; make room, and run it again"),
        (OSError(27, "File too large", "x"), "x: File too large; make room, and run it again"),
        (OSError(30, "Read-only file system", "x"), "x: Read-only file system"),
    ],
)
def test_what_the_system_refuses_is_a_line(error, said, monkeypatch, capsys):
    def fail(self, config):
        raise error

    monkeypatch.setattr(Command, "run", fail)
    assert program.main("test", "tests", [COMMAND], ["greet", "you", "--often", "1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"test greet: {said}")


@pytest.mark.parametrize("error", [OSError("Caught FileNotFoundError in a worker"), OSError(98, "Address in use")])
def test_what_is_unexpected_keeps_its_traceback(error, monkeypatch):
    def fail(self, config):
        raise error

    monkeypatch.setattr(Command, "run", fail)
    with pytest.raises(OSError, match=re.escape(str(error))):
        program.main("test", "tests", [COMMAND], ["greet", "you", "--often", "1"])


def test_a_current_folder_that_is_gone_is_a_usage_error(tmp_path):
    code = "import os, sys; os.rmdir(os.getcwd()); from sharding.__main__ import *; sys.exit(main('x', '', COMMANDS))"
    run = subprocess.run(
        [sys.executable, "-c", code, "verify", "set"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert (
        run.stderr
        == "x verify: the current folder: No such file or directory; change to another one, and run it again\n"
    )


@pytest.mark.parametrize("text", ["1_0", " 4", "\uff11", "nan", "inf", "0.5", "1e9", "-1", "4x", "."])
def test_a_factor_of_the_limits_is_a_plain_number(text, monkeypatch):
    monkeypatch.setenv("DEPTHSTREAM_LIMITS", text)
    assert math.isnan(_factor())


@pytest.mark.parametrize(("text", "factor"), [("", 1), ("1", 1), ("2.5", 2.5), ("1e3", 1000)])
def test_such_a_number_is_read(text, factor, monkeypatch):
    monkeypatch.setenv("DEPTHSTREAM_LIMITS", text)
    assert _factor() == factor


def test_numbers_that_json_does_not_have_are_null(monkeypatch, capsys):
    data = {"a": float("nan"), "b": [np.float32("inf"), 1.5], "c": {"d": -math.inf, "e": np.int64(3)}}
    monkeypatch.setattr(Command, "run", lambda self, config: Outcome(data=data, text=""))
    assert program.main("test", "tests", [COMMAND], ["greet", "you", "--often", "1", "--json"]) == 0
    assert capsys.readouterr().out == '{"a": null, "b": [null, 1.5], "c": {"d": null, "e": 3}}\n'


def test_a_result_with_an_error_is_printed_and_ends_with_1(monkeypatch, capsys):
    outcome = Outcome(data={"done": 2}, text="done", error="1 of 3 failed")
    monkeypatch.setattr(Command, "run", lambda self, config: outcome)
    for words, printed in ((["--json"], '{"done": 2}\n'), ([], "done\n"), (["--quiet"], "done\n")):
        assert program.main("test", "tests", [COMMAND], ["greet", "you", "--often", "1", *words]) == 1
        assert capsys.readouterr() == (printed, "test greet: 1 of 3 failed\n")


def test_an_unknown_option_ends_with_2():
    with pytest.raises(SystemExit) as ended:
        program.main("test", "tests", [COMMAND], ["greet", "you", "--nonsense"])
    assert ended.value.code == 2


def test_json_prints_one_object_on_stdout(monkeypatch, capsys):
    monkeypatch.setattr(Command, "run", lambda self, config: greet(config))
    program.main("test", "tests", [COMMAND], ["greet", "you", "--often", "2", "--json"])
    assert json.loads(capsys.readouterr().out) == {"often": 2, "size": 1000}


def parse(tmp_path, yaml, *argv):
    (tmp_path / "c.yaml").write_text(yaml)
    given = build_parser("test", "tests", [COMMAND]).parse_args(
        ["greet", "you", "--config", str(tmp_path / "c.yaml"), *argv]
    )
    return build_config(Config, given)


def test_the_command_line_wins_over_the_file_and_the_file_over_the_default(tmp_path):
    config = parse(tmp_path, "often: 3\nsize: 2KB\nloud: true\n", "--often", "5")
    assert config == Config(name="you", often=5, size=2000, loud=True)


def test_a_file_may_hold_every_option_and_the_command_line_takes_back(tmp_path):
    (tmp_path / "c.yaml").write_text("name: you\noften: 3\nloud: true\n")
    given = build_parser("test", "tests", [COMMAND]).parse_args(
        ["greet", "--config", str(tmp_path / "c.yaml"), "--no-loud"]
    )
    assert build_config(Config, given) == Config(name="you", often=3, loud=False)


def test_what_is_missing_is_named_as_the_command_line_calls_it():
    given = build_parser("test", "tests", [COMMAND]).parse_args(["greet"])
    with pytest.raises(UsageError, match="missing: name, --often"):
        build_config(Config, given)


@pytest.mark.parametrize("yaml", ["nonsense: 1", "often: many", "- often", "often: ["])
def test_a_wrong_file_is_a_usage_error_that_names_it(tmp_path, yaml):
    with pytest.raises(UsageError, match=r"c\.yaml"):
        parse(tmp_path, yaml)


@pytest.mark.parametrize(
    ("text", "size"), [("256MB", 256_000_000), ("1.5GB", 1_500_000_000), ("4096", 4096), ("10kb", 10_000)]
)
def test_sizes_are_read_with_their_unit(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "0", "3XB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_bytes(text)


@pytest.mark.parametrize("command", [*SHARDING, *TRAINING], ids=lambda command: command.name)
def test_every_command_shows_help_with_examples_that_parse(command, capsys):
    parser = build_parser("depthstream", "", [command])
    with pytest.raises(SystemExit) as ended:
        parser.parse_args([*command.name.split(), "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    examples = shown.partition("examples:\n")[2].replace("\\\n", "").splitlines()
    assert len(examples) == len(command.examples) > 0
    for example in examples:
        program, *words = shlex.split(example)
        assert program == "depthstream"
        build_config(command.config, parser.parse_args(words))


@pytest.mark.parametrize("command", [*SHARDING, *TRAINING], ids=lambda command: command.name)
def test_what_is_required_looks_required(command, capsys):
    parser = build_parser("depthstream", "", [command])
    with pytest.raises(SystemExit):
        parser.parse_args([*command.name.split(), "--help"])
    shown = capsys.readouterr().out
    usage, listed = shown.split("\n\n")[0], shown.partition("required:\n")[2].partition("\n\n")[0]
    for one in options_of(command.config):
        assert (one.flag in listed) == one.is_required, one.flag
        assert (one.flag in usage) == (one.is_required or one.is_positional), one.flag


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as ended:
        program.main("depthstream", "", SHARDING, ["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"depthstream {version('depthstream')}\n")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_takes_the_completion(shell, tmp_path, capsys):
    with pytest.raises(SystemExit):
        program.main("depthstream", "", (*SHARDING, *TRAINING), ["--completion", shell])
    script = capsys.readouterr().out
    for word in ("finetune", "--encoder-name", "resnet101", "--scene-type"):
        assert word in script
    if shell == "zsh":
        assert r":jpeg_subsampling:(4\:4\:4 4\:2\:2 4\:2\:0)" in script  # a bare colon would end the list
    if shell == "bash":
        (tmp_path / "completion").write_text(script)
        ask = (
            f"source {tmp_path}/completion; COMP_WORDS=(depthstream finetune --enc); COMP_CWORD=2; "
            '_shtab_depthstream; echo "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=60)
        assert set(done.stdout.split()) == {"--encoder", "--encoder-name", "--encoder-lr-factor"}, done.stderr


def test_abbreviations_are_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        program.main("depthstream", "", TRAINING, ["finetune", "set", "--val", "set", "--out", "run", "--epoch", "3"])
    assert ended.value.code == 2
    assert "no option --epoch; did you mean --epochs?" in capsys.readouterr().err


def test_a_command_that_is_not_ranked_prints_whatever_rank_is_left_over(monkeypatch, capsys):
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.setenv(name, "3")
    monkeypatch.setattr(Command, "run", lambda self, config: greet(config))
    program.main("test", "tests", [COMMAND], ["greet", "you", "--often", "2"])
    assert capsys.readouterr().out == "hello\n"


def test_a_ranked_command_is_silent_on_other_ranks(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setattr(Command, "run", lambda self, config: greet(config))
    program.main("test", "tests", [dataclasses.replace(COMMAND, ranked=True)], ["greet", "you", "--often", "2"])
    assert capsys.readouterr().out == ""


POSITIONAL = {
    "toyworld": ("out",),
    "shard megadepth": ("source", "set"),
    "shard diode": ("source", "set"),
    "index": ("tars", "set"),
    "verify": ("set",),
    "inspect": ("set",),
    "pretrain": ("sets",),
    "finetune": ("set",),
    "evaluate": ("run", "set"),
    "predict": ("run", "images"),
    "export": ("run",),
    "compare": ("runs",),
    "profile": ("set",),
    "demo": (),
}


@pytest.mark.parametrize("command", [*SHARDING, *TRAINING], ids=lambda command: command.name)
def test_the_words_of_a_command_line_are_taken_in_the_order_of_its_usage(command):
    names = POSITIONAL[command.name]
    words = [f"{name}-word" for name in names]
    given = build_parser("depthstream", "", [command]).parse_args([*command.name.split(), *words])
    values = {name: value[0] if isinstance(value, list) else value for name, value in vars(given).items()}
    assert [values[name] for name in names] == words


def test_help_imports_nothing_heavy():
    code = (
        "import sys, contextlib, io\nfrom training.__main__ import main\n"
        "sys.argv = ['depthstream', 'finetune', '--help']\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): main()\n"
        "heavy = {'torch', 'pandas', 'lightly_train', 'fastai', 'pytorch_lightning', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == 0


@pytest.mark.parametrize("module", ["sharding", "training"])
def test_the_packages_run_as_modules(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "verify", "nowhere"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "nowhere: expected a shard set with manifest.json" in done.stderr


def test_sharding_never_imports_torch():
    code = (
        "import importlib, pkgutil, sys, sharding\n"
        "names = [module.name for module in pkgutil.walk_packages(sharding.__path__, 'sharding.')]\n"
        "for name in names: name.endswith('__main__') or importlib.import_module(name)\n"
        "sys.exit(1 if 'torch' in sys.modules else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_a_missing_library_is_a_usage_error_that_says_what_to_install():
    command = Command(name="greet", config=Config, runner="no_such_library:run", help="", examples=())
    with pytest.raises(UsageError, match=r"needs no_such_library.*depthstream\[train\]"):
        command.run(None)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("shard diode SRC --split val SET", "shard diode SRC SET --split val"),
        ("shard diode --split val SRC --workers 2 SET --json", "shard diode SRC SET --split val --workers 2 --json"),
        ("evaluate RUN --json SET", "evaluate RUN SET --json"),
        ("inspect --seed -1 SET", "inspect SET --seed -1"),
        ("predict --out DIR RUN --checkpoint last A B", "predict RUN A B --out DIR --checkpoint last"),
        ("finetune --no-resume SET --val=V --out R", "finetune SET --no-resume --val=V --out R"),
        ("verify --config F SET -- -x", "verify SET --config F -- -x"),
        ("compare A --arm x=B C --arm y=D --out R E", "compare A C E --arm x=B --arm y=D --out R"),
    ],
)
def test_words_and_options_come_in_any_order(line, expected):
    assert program._ordered(line.split(), (*SHARDING, *TRAINING)) == expected.split()


@dataclass(frozen=True, kw_only=True)
class Several:
    """Words that may be missing, and an option for each of several things."""

    words: tuple[str, ...] = argument("words", ())
    arm: tuple[str, ...] = option((), "an arm", repeated=True)


@pytest.mark.parametrize(
    ("line", "words", "arms"),
    [
        ("", (), ()),
        ("--arm a", (), ("a",)),
        ("--arm a x --arm b y", ("x", "y"), ("a", "b")),
        ("x", ("x",), ()),
    ],
)
def test_an_option_is_repeated_for_each_of_its_elements_and_words_may_be_missing(line, words, arms, capsys):
    command = Command(name="several", config=Several, runner="", help="", examples=())
    ordered = program._ordered(["several", *line.split()], [command])
    found = build_config(Several, build_parser("test", "", [command]).parse_args(ordered))
    assert found == Several(words=words, arm=arms)
    with pytest.raises(SystemExit):
        build_parser("test", "", [command]).parse_args(["several", "--help"])
    assert "usage: test several [WORDS ...] [OPTION ...]" in capsys.readouterr().out


def test_an_option_before_the_command_is_told_where_it_belongs(capsys):
    with pytest.raises(SystemExit):
        program.main("depthstream", "", SHARDING, ["--json", "verify", "SET"])
    assert "--json belongs after the name of the command, and before --" in capsys.readouterr().err
