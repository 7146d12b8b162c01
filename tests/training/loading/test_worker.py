"""Workers of real loaders: signals, the end of their trainer, what their errors say. Also the script of a trainer."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from sharding.errors import DataError
from sharding.reading.shard_set import ShardSet
from training.launch.worker_errors import plain_message, worker_died
from training.loading.dataset import DiodeDepthDataset
from training.loading.loader import Loading, build_loader
from training.loading.sampler import TrainSampler

ROOT = Path(__file__).parents[3]
LIMIT_S = 60  # for a trainer; it takes about 5 s on an idle machine
METHODS = ["fork", "forkserver"]
JOBS = ["fork", pytest.param("forkserver", marks=pytest.mark.slow)]  # a fork server has everything to import
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Pids(Dataset):
    """Says who made an item; each takes a little while, and more room than a pipe has."""

    def __getitems__(self, positions):
        time.sleep(0.05)
        return [(position, os.getpid(), "x" * 100_000) for _, position in positions]


class Faulty(Dataset):
    """Raises, or dies, as its error says."""

    def __init__(self, error):
        self.error = error

    def __getitems__(self, positions):
        if isinstance(self.error, int):
            os.kill(os.getpid(), self.error)
            time.sleep(30)
        if self.error == "exit":
            os._exit(3)
        try:
            raise OSError("the first error")
        except OSError as first:
            raise self.error from first


def pids_loader(method, num_samples=40):
    sampler = TrainSampler(num_samples, 2)
    loading = Loading(batch_size=2, num_workers=2, start_method=method, timeout_s=30)
    return build_loader(Pids(), sampler, loading, collate_fn=list)


def living(group: int) -> list[int]:
    """Processes of a process group, without those that are dead and not yet waited for."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(") ")[2].split()[:3]
        except OSError:  # ended meanwhile
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


def seconds_until_gone(group: int, limit_s: float) -> float:
    begin = time.monotonic()
    while living(group) and time.monotonic() < begin + limit_s:
        time.sleep(0.1)
    return time.monotonic() - begin


@pytest.fixture
def trainer():
    """A function that starts a trainer in a process group of its own; what is left of it is killed at the end."""
    started = []

    def start(*arguments):
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, *arguments]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if living(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=LIMIT_S)


def signalled_epoch(method):
    """A trainer that waits, in the middle of an epoch, until it has got every signal of a job."""
    missing = set(STOPS)
    for stop in STOPS:
        signal.signal(stop, lambda number, _: missing.discard(number))
    loader = pids_loader(method)
    found = []
    for epoch in range(2):  # the second says whether the workers are as they were
        for number, batch in enumerate(loader):
            found += [item[:2] for item in batch]
            if (epoch, number) == (0, 3):
                print("ready", flush=True)
                while missing:
                    time.sleep(0.05)
    print(sorted(position for position, _ in found) == sorted([*range(40)] * 2), len({pid for _, pid in found}))
    return loader  # the interpreter ends with its workers still there


def endless(method):
    """A trainer that waits to be killed, its workers at work."""
    iterator = iter(pids_loader(method, 4000))
    print(*{item[1] for _ in range(4) for item in next(iterator)}, flush=True)
    time.sleep(LIMIT_S)


@pytest.mark.parametrize("method", JOBS)
def test_an_epoch_comes_whole_through_the_signals_of_a_job_and_ends_promptly(trainer, method):
    process = trainer("signalled_epoch", method)
    assert process.stdout.readline() == "ready\n"
    for stop in STOPS * 2:
        os.killpg(process.pid, stop)
    begin = time.monotonic()
    output, error = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, output) == (0, "True 2\n"), error
    assert "Traceback" not in error
    assert seconds_until_gone(process.pid, 10) < 10
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("method", JOBS)
def test_workers_end_when_their_trainer_is_killed(trainer, method):
    process = trainer("endless", method)
    workers = {int(pid) for pid in process.stdout.readline().split()}
    assert len(workers) == 2
    assert workers < set(living(process.pid))
    process.kill()
    assert seconds_until_gone(process.pid, 30) < 30


@pytest.mark.parametrize("method", JOBS)
def test_workers_end_with_their_loader(method):
    loader = pids_loader(method)
    iterator = iter(loader)
    workers = {item[1] for _ in range(4) for item in next(iterator)}
    for worker in workers:
        os.kill(worker, signal.SIGCONT)  # they are there
    begin = time.monotonic()
    del iterator, loader
    assert time.monotonic() - begin < 10
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


def message_of(loader):
    """What a person reads when an epoch fails."""
    try:
        list(loader)
    except Exception as error:
        text = plain_message(error)
        traceback.clear_frames(error.__traceback__)  # they hold the loader in a circle, and it would end slowly
    return text


def faulty_loader(error, num_workers=1):
    loading = Loading(batch_size=2, num_workers=num_workers, timeout_s=30 * (num_workers > 0))
    return build_loader(Faulty(error), TrainSampler(8, 2), loading, collate_fn=list)


@pytest.fixture
def damaged(diode_sets, tmp_path):
    """A copy of a set with one byte changed in a sample; its dataset and the row."""
    shutil.copytree(diode_sets[0].url, tmp_path / "set")
    row = diode_sets[0].index.iloc[11]
    with open(tmp_path / "set" / "shards" / row["shard"], "r+b") as shard:
        shard.seek(int(row["image_offset"]) + int(row["image_bytes"]) // 2)
        byte = shard.read(1)
        shard.seek(-1, os.SEEK_CUR)
        shard.write(bytes([byte[0] ^ 255]))
    return DiodeDepthDataset(ShardSet(tmp_path / "set"), shuffle=True), row


@pytest.mark.parametrize("method", METHODS)
def test_a_damaged_sample_is_named_with_worker_shard_and_key(damaged, method):
    dataset, row = damaged
    sampler = TrainSampler(len(dataset), 4, dataset.prepare)
    loading = Loading(batch_size=4, num_workers=2, start_method=method, timeout_s=60)
    text = message_of(build_loader(dataset, sampler, loading))
    assert re.match(r"loader worker [01]: ", text)
    assert row["key"] in text
    assert row["shard"] in text
    assert "Traceback" not in text
    assert "\n" not in text


def test_an_error_of_this_process_stays_as_it_is(damaged):
    dataset, row = damaged
    with pytest.raises(DataError) as caught:
        dataset.__getitems__([(0, place) for place in range(len(dataset))])
    assert plain_message(caught.value) == str(caught.value)
    assert row["key"] in plain_message(caught.value)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DataError("one line"), "loader worker 0: one line"),
        (DataError("two lines:\n  the second"), "loader worker 0: two lines:\n  the second"),
        (DataError("a word\nDataErrors: many"), "loader worker 0: a word\nDataErrors: many"),
        (ValueError("bad value"), "loader worker 0: ValueError: bad value"),
        (KeyError("depth"), "loader worker 0: KeyError: 'depth'"),
        (RuntimeError(), "loader worker 0: RuntimeError"),
    ],
)
def test_an_error_of_a_worker_is_its_text_without_the_tracebacks(error, text):
    assert message_of(faulty_loader(error)) == text


def test_errors_without_a_worker_are_their_own_text():
    assert message_of(faulty_loader(DataError("here"), 0)) == "here"
    assert plain_message(KeyError("depth")) == "depth"
    assert plain_message(RuntimeError()) == ""


@pytest.mark.parametrize(
    ("how", "known"),
    [(signal.SIGKILL, "signal: Killed"), (signal.SIGSEGV, "signal: Segmentation"), ("exit", "exit code 3")],
)
def test_a_killed_worker_is_a_sentence_with_the_signal_and_what_to_do(how, known):
    text = message_of(faulty_loader(how))
    assert re.match(rf"a loader worker \(pid \d+\) was killed \({known}.*\); .*memory ran out.*--num-workers", text)


if __name__ == "__main__":
    kept = {"signalled_epoch": signalled_epoch, "endless": endless}[sys.argv[1]](sys.argv[2])


class Handed(Dataset):
    """Tensors, which a worker hands over by a connection of its own."""

    def __getitems__(self, positions):
        return [{"image": torch.zeros(100_000)} for _ in positions]


@pytest.mark.parametrize("method", JOBS)
def test_a_worker_killed_before_its_batch_is_taken_is_a_sentence(method):
    loading = Loading(batch_size=2, num_workers=1, start_method=method, timeout_s=30)
    batches = iter(build_loader(Handed(), TrainSampler(8, 2), loading))
    assert batches._worker_result_queue._reader.poll(30)
    # torch's handler would raise at any moment from the worker's death on, so also in this test.
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        os.kill(batches._workers[0].pid, signal.SIGKILL)
        batches._workers[0].join(30)  # until it is dead: it might still hand the batch over
        assert not batches._workers[0].is_alive()
    finally:
        signal.signal(signal.SIGCHLD, handler)
    text = message_of(batches)
    assert re.match(r"a loader worker( \(pid \d+\))? was killed \(.*\); .*memory ran out.*--num-workers", text)


class Unsendable(Dataset):
    """Items that a worker can make, and not send."""

    def __getitems__(self, positions):
        return [threading.Lock() for _ in positions]


@pytest.mark.parametrize("method", JOBS)
def test_a_batch_that_cannot_be_sent_ends_the_run(method, capfd):
    """Else the trainer would wait for it for ever: the thread that sends it has nobody to raise to."""
    loading = Loading(batch_size=2, num_workers=1, start_method=method)
    text = message_of(iter(build_loader(Unsendable(), TrainSampler(8, 2), loading, collate_fn=list)))
    assert re.match(r"a loader worker.* was killed .* the worker has written an error above", text)
    if method == "fork":  # a fork server writes to the stderr of the test that started it
        assert "loader worker 0: a batch cannot be sent: TypeError" in capfd.readouterr().err


@pytest.mark.parametrize("kind", [EOFError, ConnectionResetError, ConnectionRefusedError, FileNotFoundError])
def test_a_connection_that_breaks_off_while_a_batch_is_taken_is_a_dead_worker(kind, monkeypatch):
    def break_off(*arguments, **options):
        raise kind

    batches = iter(faulty_loader(DataError("not asked for yet")))
    monkeypatch.setattr(batches._worker_result_queue, "get", break_off)
    text = message_of(batches)
    assert text.startswith("a loader worker was killed (signal not known); the usual cause is that memory ran out")


def test_such_an_error_of_anything_else_is_not_a_dead_worker():
    assert not worker_died(EOFError())
    assert plain_message(ConnectionResetError("by the server")) == "by the server"
    assert message_of(faulty_loader(EOFError("file ends"))) == "loader worker 0: EOFError: file ends"
    assert message_of(faulty_loader(EOFError("file ends"), 0)) == "file ends"
    assert worker_died(RuntimeError("Pin memory thread exited unexpectedly"))


ARENAS_OF_A_WORKER = """
import multiprocessing, os
from training.loading.worker import start_fork_server

def tell():
    print(os.environ["MALLOC_ARENA_MAX"], flush=True)

if __name__ == "__main__":
    start_fork_server()
    print(os.environ.get("MALLOC_ARENA_MAX"), flush=True)
    worker = multiprocessing.get_context("forkserver").Process(target=tell)
    worker.start()
    worker.join(30)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("given", "said"), [(None, ["None", "1"]), ("5", ["5", "5"])])
def test_workers_share_one_arena_unless_told_otherwise(given, said, tmp_path):
    (tmp_path / "tell.py").write_text(ARENAS_OF_A_WORKER)
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"MALLOC_ARENA_MAX": given} if given else {})
    command = [sys.executable, str(tmp_path / "tell.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == said, done.stderr


WORKER_IN_A_FOLDER = """
import multiprocessing, os
from training.loading.worker import start_fork_server, start_worker

def tell(*_):
    start_worker(0)
    print(os.environ.get("PYTHONSAFEPATH"), flush=True)

if __name__ == "__main__":
    start_fork_server()
    print(os.environ.get("PYTHONSAFEPATH"), flush=True)
    worker = multiprocessing.get_context("forkserver").Process(target=tell)
    worker.start()
    worker.join(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("given", "said"), [(None, "None"), ("1", "1")])
def test_a_fork_server_imports_nothing_from_the_current_folder(given, said, tmp_path):
    (tmp_path / "tell.py").write_text(WORKER_IN_A_FOLDER)
    here = tmp_path / "here"
    here.mkdir()
    for name in ("selectors", "socket", "json", "training"):
        (here / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"PYTHONSAFEPATH": given} if given else {})
    command = [sys.executable, str(tmp_path / "tell.py")]
    done = subprocess.run(command, env=environment, cwd=here, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == [said, said], done.stderr
    assert not (tmp_path / "executed").exists()
