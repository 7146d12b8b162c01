import json
import subprocess
import sys
from pathlib import Path

import pytest
from cost_table import CostTableConfig, run

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/cost.md"


def call(*argv):
    command = [sys.executable, ROOT / "scripts/cost_table.py", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=ROOT)


def rows_of(text):
    return [line for line in text.splitlines() if line.startswith("| ") and line[2].isdigit()]


@pytest.mark.slow
def test_the_document_has_the_tables_of_the_program():
    done = call()
    assert done.returncode == 0, done.stderr
    assert len(rows_of(done.stdout)) == 80
    assert DOCUMENT.read_text().endswith(f"## Tables\n\n{done.stdout}")


@pytest.mark.slow
def test_the_document_has_the_rows_of_the_smallest_network_and_size():
    rows = rows_of(run(CostTableConfig(encoders=("resnet18",), sizes=("256x256",))).text)
    assert len(rows) == 4
    document = DOCUMENT.read_text()
    assert rows == rows_of(document[document.index("**resnet18**") :])[:4]


@pytest.mark.slow
def test_numbers_are_given_as_json():
    done = call("--encoders", "resnet50", "--sizes", "768x768", "--json")
    plain, checkpointed, *_ = json.loads(done.stdout)["encoders"]["resnet50"]
    assert plain["micro_batch"] == {"24 GB": 2, "80 GB": 8}
    assert round(plain["kept_bytes_per_pixel"]) == 9481
    assert checkpointed["step_gflop"] > plain["step_gflop"] + 0.99 * plain["forward_gflop"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("--sizes", "768"), "--sizes 768: expected height x width"),
        (("--encoders", "vgg"), "--encoders vgg: there are"),
    ],
)
def test_what_is_no_size_or_encoder_is_refused(argv, expected):
    done = call(*argv)
    assert done.returncode == 2
    assert expected in done.stderr
