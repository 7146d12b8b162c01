"""Where a run comes from: command, versions, revision, encoder and its pretraining."""

import json
import subprocess
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from sharding.errors import UsageError
from tests.sharding.test_hiding import SECRET
from training.config import FinetuneConfig, PretrainConfig
from training.finetuning import trace
from training.finetuning.check import check_finetune
from training.finetuning.trace import (
    check_encoder,
    check_recorded_encoder,
    continued,
    describe_command,
    find_revision,
    hash_encoder,
    read_pretraining,
    weights_to_begin_with,
)
from training.runfolder import save_config


def test_a_command_is_one_that_a_shell_runs_again():
    words = [
        "depthstream",
        "finetune",
        "my set",
        "--where",
        "scene_type == 'outdoor'",
        "--val=s3://b/val",
        "--out",
        "r",
    ]
    said = describe_command(words, {})
    assert (
        said == "depthstream finetune 'my set' --where 'scene_type == '\"'\"'outdoor'\"'\"'' --val=s3://b/val --out r"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["finetune", f"https://user:{SECRET}@host/set"],
        ["finetune", f"--val=https://user:{SECRET}@host/set?token={SECRET}"],
        ["finetune", "--val", f"https://host/set?X-Amz-Signature={SECRET}"],
        ["finetune", "--pipe", f"KEY={SECRET} curl -H 'Authorization: {SECRET}' {{url}}"],
        ["finetune", f"--pipe=curl -u u:{SECRET} {{url}}"],
        ["finetune", "--out", f"runs/{SECRET}"],
    ],
)
def test_a_command_is_kept_without_secrets(words):
    said = describe_command(words, {"AWS_SECRET_ACCESS_KEY": SECRET})
    assert SECRET not in said
    assert said.startswith("finetune ")


def test_versions_are_recorded_of_all_packages_and_of_torch_with_its_build(tmp_path):
    found = trace.take_trace(FinetuneConfig(set="a", out=str(tmp_path)), "cpu")["versions"]
    assert set(found) == {"python", *trace.PACKAGES}
    assert found["torch"] == torch.__version__


def git(folder: Path, *arguments: str) -> str:
    name = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", *name, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A checkout whose file `package/trace.py` is where the module thinks it lies."""
    file = tmp_path / "package" / "trace.py"
    file.parent.mkdir()
    file.write_text("one\n")
    git(tmp_path, "init", "-q")
    monkeypatch.setattr(trace, "__file__", str(file))
    return tmp_path


def test_the_revision_is_that_of_the_checkout_marked_if_a_file_differs(checkout, monkeypatch):
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "one")
    git(checkout, "tag", "v1")  # would be described in place of the commit
    head = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook of another repository
    assert find_revision() == head
    (checkout / "new.txt").write_text("not tracked")
    assert find_revision() == head
    (checkout / "package" / "trace.py").write_text("two\n")
    assert find_revision() == head + "+"


def test_a_package_that_another_projects_checkout_only_contains_has_no_revision(checkout, monkeypatch):
    (checkout / "other.txt").write_text("of the project")
    git(checkout, "add", "other.txt")
    git(checkout, "commit", "-qm", "one")
    assert find_revision() is None
    monkeypatch.setenv("PATH", "")  # no git at all
    assert find_revision() is None


def test_a_later_start_adds_what_differs():
    first = {"started": "1", "command": "a", "versions": {"torch": "1"}, "encoder_sha256": "x"}
    second = continued(first, {"started": "2", "command": "a", "versions": {"torch": "2"}, "encoder_sha256": "x"})
    third = continued(second, {"started": "3", "command": "b", "versions": {"torch": "1"}, "encoder_sha256": "x"})
    assert third == first | {
        "resumes": [{"started": "2", "versions": {"torch": "2"}}, {"started": "3", "command": "b"}]
    }
    assert continued({}, first) == {"resumes": [first]}  # begun by a version that kept no trace


@pytest.fixture
def pretrained(tmp_path) -> Path:
    """What a run of `pretrain` leaves."""
    run = tmp_path / "pretrained"
    config = PretrainConfig(sets=("https://user:secret@host/a",), out=str(run), model="torchvision/resnet18", epochs=7)
    save_config(run, config)
    (run / "sets.json").write_text(json.dumps([{"name": "a", "identity": "i", "samples": 3}]))
    (run / "encoder.pt").write_bytes(b"weights")
    return run


def test_the_pretraining_is_told_by_its_folder_and_by_the_file_in_it(pretrained, tmp_path):
    found = read_pretraining(str(pretrained))
    assert found["config"]["epochs"] == 7
    assert found["config"]["sets"] == ["https://host/a"]
    assert found["sets"] == [{"name": "a", "identity": "i", "samples": 3}]
    assert read_pretraining(str(pretrained / "encoder.pt")) == found
    json.dumps(found)
    assert read_pretraining("none") is None
    (tmp_path / "alone.pt").write_bytes(b"weights")
    assert read_pretraining(str(tmp_path / "alone.pt")) is None
    (pretrained / "config.yaml").write_text("colour: red\n")
    assert read_pretraining(str(pretrained / "encoder.pt")) is None


def test_an_encoder_is_known_by_its_bytes(pretrained):
    assert (
        hash_encoder(str(pretrained)) == sha256(b"weights").hexdigest() == hash_encoder(str(pretrained / "encoder.pt"))
    )
    assert hash_encoder("none") is None
    assert hash_encoder(str(pretrained / "gone.pt")) is None


def test_an_encoder_of_other_content_is_refused_by_the_first_digits_of_both(pretrained):
    before, now = sha256(b"former").hexdigest(), sha256(b"weights").hexdigest()
    with pytest.raises(UsageError) as caught:
        check_encoder(str(pretrained), before)
    assert str(caught.value) == (
        f"--resume: the run began from an encoder with sha256 {before[:12]}, but {pretrained}/encoder.pt has "
        f"{now[:12]} now, so it was replaced or pretrained again; put the former file there, or begin another run with "
        "another --out"
    )
    check_encoder(str(pretrained), now)
    check_encoder(str(pretrained), None)  # of an earlier version: not known
    (pretrained / "encoder.pt").unlink()
    check_encoder(str(pretrained), before)


def test_a_run_without_a_record_of_its_encoder_has_nothing_to_compare(pretrained, tmp_path):
    config = FinetuneConfig(set="a", out=str(tmp_path), encoder=str(pretrained))
    check_recorded_encoder(config)
    (tmp_path / "metrics.json").write_text('{"finished": true}')
    check_recorded_encoder(config)
    (tmp_path / "metrics.json").write_text('{"encoder_sha256": "00"}')
    with pytest.raises(UsageError, match="began from an encoder with sha256 00, but"):
        check_recorded_encoder(config)


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_is_not_resumed_with_a_swapped_encoder_finished_or_not(pretrained, tmp_path, finished):
    """Before anything is loaded."""
    out = tmp_path / "run"
    config = FinetuneConfig(set="a", val="b", out=str(out), encoder=str(pretrained), resume=True)
    save_config(out, config)
    record = {"finished": finished, "encoder_sha256": hash_encoder(str(pretrained))}
    (out / "metrics.json").write_text(json.dumps(record))
    if finished:
        check_finetune(config)
    (pretrained / "encoder.pt").write_bytes(b"of another pretraining")
    with pytest.raises(
        UsageError, match=f"sha256 {record['encoder_sha256'][:12]}, but .* has {hash_encoder(str(pretrained))[:12]} now"
    ):
        check_finetune(config)


def test_an_encoder_that_is_gone_is_done_without_only_if_there_is_a_checkpoint(pretrained, tmp_path, capsys):
    out = tmp_path / "run"
    config = FinetuneConfig(set="a", out=str(out), encoder=str(pretrained), resume=True)
    assert weights_to_begin_with(config) == str(pretrained)
    (pretrained / "encoder.pt").unlink()
    assert weights_to_begin_with(config) == str(pretrained)  # whose absence is then an error
    (out / "checkpoints").mkdir(parents=True)
    (out / "checkpoints" / "best.ckpt").write_bytes(b"weights alone")
    assert weights_to_begin_with(config) == str(pretrained)
    (out / "checkpoints" / "last-1.ckpt").write_bytes(b"a run's state")
    assert weights_to_begin_with(config) == "none"
    assert (
        f"--encoder {pretrained} is gone: the run goes on from the weights in its checkpoint" in capsys.readouterr().err
    )


def test_the_same_encoder_may_lie_elsewhere_when_a_run_is_resumed(pretrained, tmp_path):
    out, copy = tmp_path / "run", tmp_path / "moved.pt"
    config = FinetuneConfig(set="a", val="b", out=str(out), encoder=str(pretrained), resume=True)
    save_config(out, config)
    copy.write_bytes((pretrained / "encoder.pt").read_bytes())
    (out / "metrics.json").write_text('{"finished": true}')
    with pytest.raises(UsageError, match=r"begun with --encoder .*pretrained, not .*moved\.pt"):
        check_finetune(replace(config, encoder=str(copy)))  # an earlier version kept no sha256
    (out / "metrics.json").write_text(json.dumps({"finished": True, "encoder_sha256": hash_encoder(str(pretrained))}))
    check_finetune(replace(config, encoder=str(copy)))
    for encoder in ("none", str(tmp_path / "gone.pt")):
        with pytest.raises(UsageError, match=r"begun with --encoder .*pretrained, not"):
            check_finetune(replace(config, encoder=encoder))
    copy.write_bytes(b"other weights")
    with pytest.raises(UsageError, match=r"begun with --encoder .*pretrained, not .*moved\.pt"):
        check_finetune(replace(config, encoder=str(copy)))
