import importlib.util
import re
import subprocess
import sys

import pytest

from sharding.errors import UsageError
from training.lightning.arguments import check_lightning, check_monitored, check_same_learning
from training.lightning.names import MONITORS, REFUSED, TRAINER_ARGS
from training.metrics.names import columns_of
from training.metrics.protocols import UP_TO_SCALE

STOP = {"monitor": "val_abs_rel"}


@pytest.mark.parametrize(
    "mapping",
    [
        None,
        {},
        {"CSVLogger": {}, "EarlyStopping": STOP, "EMAWeightAveraging": {}, "profiler": "simple"},
        {"EarlyStopping": {"monitor": "val_delta1", "mode": "max", "patience": 5, "min_delta": 0}},
        {"EMAWeightAveraging": {"decay": 0.99, "update_starting_at_step": 100, "device": "cpu"}},
        {"WeightAveraging": {"use_buffers": False}},
        {"LearningRateMonitor": {"logging_interval": "epoch"}, "PyTorchProfiler": {"row_limit": 5, "with_stack": True}},
        {"log_every_n_steps": 1, "detect_anomaly": True, "gradient_clip_algorithm": "value", "min_epochs": 2},
    ],
)
def test_what_lightning_has_is_accepted(mapping):
    check_lightning(mapping)


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"CSVLoger": {}}, "lightning: no name CSVLoger; did you mean CSVLogger?"),
        ({"early_stopping": {}}, "lightning: no name early_stopping; did you mean EarlyStopping?"),
        ({"SWA": {}}, "lightning: no name SWA; there are AdvancedProfiler, CSVLogger, DeviceStatsMonitor, EMAWeightA"),
        ({"CSVLogger": None}, "lightning: CSVLogger: expected a mapping of its arguments, {} for none, found None"),
        ({"CSVLogger": {"save_dir": "x"}}, "lightning: CSVLogger: save_dir cannot be set: files are written below"),
        ({"CSVLogger": {"prefx": "x"}}, "lightning: CSVLogger: no name prefx; did you mean prefix?"),
        ({"CSVLogger": {"flush_logs_every_n_steps": 0}}, "CSVLogger: flush_logs_every_n_steps: expected"),
        ({"EarlyStopping": {}}, "EarlyStopping: expected monitor, such as val_log10, found none; there are val_loss"),
        (
            {"EarlyStopping": {"monitor": "abs_rel"}},
            "EarlyStopping: no monitor abs_rel; did you mean val_abs_rel?",
        ),
        ({"EarlyStopping": {"monitor": "train_loss"}}, "is the loss of a single step; give train_loss_epoch"),
        ({"EarlyStopping": {"monitor": 3}}, "EarlyStopping: monitor: expected"),
        ({"EarlyStopping": STOP | {"mode": "max"}}, "mode max: a lower val_abs_rel is better; leave it out"),
        ({"EarlyStopping": {"monitor": "val_delta2", "mode": "min"}}, "mode min: a higher val_delta2 is better"),
        ({"EarlyStopping": STOP | {"patience": "3"}}, "EarlyStopping: patience: expected"),
        ({"EarlyStopping": STOP | {"patience": -1}}, "EarlyStopping: patience: expected"),
        ({"EarlyStopping": STOP | {"strict": False}}, "strict cannot be set: every monitor that is accepted is there"),
        ({"EMAWeightAveraging": {"decay": 1.5}}, "EMAWeightAveraging: decay: expected"),
        ({"EMAWeightAveraging": {"device": "cuda:1"}}, "EMAWeightAveraging: device: expected"),
        ({"EMAWeightAveraging": {"update_starting_at_epoch": 1}}, "give update_starting_at_step"),
        ({"WeightAveraging": {"avg_fn": "mean"}}, "WeightAveraging: no name avg_fn; there are "),
        ({"EMAWeightAveraging": {}, "WeightAveraging": {}}, "expected one average of the weights, found EMAWeight"),
        ({"profiler": "simple", "SimpleProfiler": {}}, "expected one profiler, found SimpleProfiler and profiler"),
        ({"profiler": "xla"}, "lightning: profiler: expected"),
        (
            {"PyTorchProfiler": {"profiler_kwargs": {}}},
            "PyTorchProfiler: no name profiler_kwargs; did you mean table_kwargs?",
        ),
        ({"SimpleProfiler": {"filename": "x"}}, "filename cannot be set: reports are written to RUN/lightning"),
        ({"StochasticWeightAveraging": {"swa_lrs": 0.1}}, "it replaces the schedule of the learning rate"),
        ({"GradientAccumulationScheduler": {"scheduling": {"0": 2}}}, "--micro-batch decides how"),
        ({"TensorBoardLogger": {}}, "TensorBoardLogger cannot be set: it is always there"),
        ({"limit_train_batches": 0.1}, "limit_train_batches cannot be set: an epoch is all samples; give --where"),
        ({"max_epochs": 3}, "max_epochs cannot be set: give --epochs"),
        ({"log_every_n_steps": 0}, "lightning: log_every_n_steps: expected"),
        ({"benchmark": "yes"}, "lightning: benchmark: expected"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(mapping, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        check_lightning(mapping)


@pytest.mark.parametrize("name", [*REFUSED, *(name for name, one in TRAINER_ARGS.items() if isinstance(one, str))])
def test_every_refusal_names_what_is_refused(name):
    with pytest.raises(UsageError, match=rf"^lightning: {name} cannot be set: \w"):
        check_lightning({name: {}})


@pytest.mark.parametrize(("name", "package"), [("WandbLogger", "wandb"), ("MLFlowLogger", "mlflow")])
def test_a_logger_without_its_package_is_refused_with_the_command(name, package):
    if importlib.util.find_spec(package) is not None:
        check_lightning({name: {}})
        return
    with pytest.raises(UsageError, match=f"lightning: {name}: needs {package}, .*: pip install {package}"):
        check_lightning({name: {}})


def test_neither_torch_nor_lightning_is_imported_to_check():
    program = (
        "import sys; from training.lightning.arguments import check_lightning; "
        "check_lightning({'EarlyStopping': {'monitor': 'val_loss'}}); "
        "assert not {'torch', 'pytorch_lightning', 'lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_resumed_run_may_log_and_look_otherwise():
    check_same_learning({"CSVLogger": {}, "profiler": "simple", "EarlyStopping": STOP}, {"EarlyStopping": STOP})
    check_same_learning(None, {"LearningRateMonitor": {}, "log_every_n_steps": 5})


@pytest.mark.parametrize(
    ("now", "before", "said"),
    [
        (None, {"EarlyStopping": STOP}, "EarlyStopping {'monitor': 'val_abs_rel'}, not not set"),
        ({"EMAWeightAveraging": {}}, None, "lightning: EMAWeightAveraging not set, not {}; repeat it"),
        ({"EMAWeightAveraging": {"decay": 0.9}}, {"EMAWeightAveraging": {"decay": 0.8}}, "{'decay': 0.8}, not {'dec"),
        ({"gradient_clip_algorithm": "value"}, {}, "gradient_clip_algorithm not set, not value"),
    ],
)
def test_a_resumed_run_learns_as_before(now, before, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        check_same_learning(now, before)


@pytest.mark.parametrize("monitor", ["val_rmse", "val_mae", "val_sq_rel"])
def test_without_metres_nothing_in_metres_is_monitored(monitor):
    mapping = {"EarlyStopping": {"monitor": monitor}}
    check_monitored(mapping, "metric")
    with pytest.raises(UsageError, match=f"EarlyStopping: monitor {monitor} is in metres, .*; give val_log10"):
        check_monitored(mapping, "up_to_scale")


def test_what_is_monitored_without_metres_is_what_such_a_run_logs():
    unitless = {f"val_{column.metric}" for column in columns_of(UP_TO_SCALE)} | {"val_loss", "train_loss_epoch"}
    for monitor in unitless:
        check_monitored({"EarlyStopping": {"monitor": monitor}}, "up_to_scale")
    for monitor in set(MONITORS) - unitless:
        with pytest.raises(UsageError, match="is in metres"):
            check_monitored({"EarlyStopping": {"monitor": monitor}}, "up_to_scale")
    for mapping in (None, {}, {"CSVLogger": {}}):
        check_monitored(mapping, "up_to_scale")
