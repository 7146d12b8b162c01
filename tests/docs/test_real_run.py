"""The figures of docs/real-run.md follow from the tables of docs/cost.md."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/real-run.md").read_text()
VIEWS, EPOCHS = 16_884, 50
FLOP_PER_S = 135.3e12 / 0.533  # of one H100: docs/results/gpu.md


def computed(encoder, size):
    """GFLOP of a step for an image, and the micro-batches that fit 24 and 80 GB: bf16-mixed, not checkpointed."""
    tables = (ROOT / "docs/cost.md").read_text().partition(f"**{encoder}**")[2]
    row = next(line for line in tables.splitlines() if line.startswith(f"| {size} | bf16-mixed | no |"))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    return float(cells[4].replace(",", "")), f"{cells[8]}, {cells[9]}"


def test_what_a_run_costs_follows_from_the_cost_of_a_step():
    rows = re.findall(
        r"(?m)^\| \d: (\w+), (\d+ x \d+) \| [^|]+ \| ([\d,]+) \| (\S+) \| ([\d.]+) \| (\d+, \d+) \|$", TEXT
    )
    assert len(rows) == 4
    for encoder, size, gflop, flop, hours, fitting in rows:
        step, fits = computed(encoder, size)
        run = 1e9 * step * VIEWS * EPOCHS
        assert (float(gflop.replace(",", "")), fitting) == (step, fits)
        assert flop == f"{run:.1e}".replace("e+", "e")
        assert hours == f"{run / FLOP_PER_S / 3600:.1f}"


def test_memory_of_the_two_full_size_runs_is_what_the_tables_say():
    (fixed, sample), parameters = (6.10, 5.21), 339.1e6
    ddp = 4 * parameters / 1e9
    assert f"{2 * sample + fixed + ddp:.1f} (a) or {8 * sample + fixed:.1f} GB (b)" in TEXT
    tables = (ROOT / "docs/cost.md").read_text().partition("**resnet50**")[2]
    assert f"| {sample:.2f} | {fixed:.2f} |" in next(
        x for x in tables.splitlines() if "| 768 x 768 | bf16-mixed | no" in x
    )
