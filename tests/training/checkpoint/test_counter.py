"""The count of samples, and two faults of Lightning that it stands against; with a real trainer."""

from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Callback

from sharding.errors import DataError, UsageError
from training.checkpoint import counter as counters
from training.checkpoint.counter import SampleCounter, saved_state, stepped
from training.checkpoint.state import TrainState
from training.loading.loader import Loading, build_loader
from training.loading.sampler import TrainSampler

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*not resumable")


class SaveAt(Callback):
    """Someone else's callback, that saves when it likes."""

    def __init__(self, path, hook, count):
        self.path, self.hook, self.left = path, hook, count

    def on_train_batch_start(self, trainer, *rest):
        self.save(trainer, "start")

    def on_train_batch_end(self, trainer, *rest):
        self.save(trainer, "end")

    def on_train_epoch_end(self, trainer, *rest):
        self.save(trainer, "epoch")

    def save(self, trainer, hook):
        if hook == self.hook:
            self.left -= 1
            if self.left == 0:
                trainer.save_checkpoint(self.path)


def whole_run(tiny, folder, cut, callbacks=(), **options):
    net = tiny.Net(asks_steps=cut.asks_steps)
    return tiny.report(net, tiny.fit(net, folder, cut, callbacks, **options))


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    """A run, and its checkpoint after step 4."""
    folder = tmp_path_factory.mktemp("saved")
    cut = tiny.Cut(cadence="epoch")
    report = whole_run(tiny, folder, cut, [SaveAt(folder / "four.ckpt", "end", 4)])
    return SimpleNamespace(path=folder / "four.ckpt", report=report, cut=cut)


def test_the_state_is_known_once_there_is_a_sampler():
    counter = SampleCounter(seed=7)
    with pytest.raises(RuntimeError, match="call attach"):
        counter.state_dict()
    counter.attach(TrainSampler(13, 4))
    assert counter.state_dict() == {"seed": 7, "batch_size": 4, "num_samples": 13, "epoch": 0, "samples_consumed": 0}


@pytest.mark.parametrize("late", [True, False])
def test_the_sampler_is_told_the_place_whenever_it_comes(late):
    counter, sampler = SampleCounter(seed=7), TrainSampler(13, 4)
    if not late:
        counter.attach(sampler)
    state = TrainState(seed=7, batch_size=4, num_samples=13, epoch=2, samples_consumed=8)
    checkpoint = {"callbacks": {"SampleCounter": state.to_dict()}, "loops": {"fit_loop": {}}}
    loop = SimpleNamespace(state_dict=dict)
    trainer = SimpleNamespace(
        accumulate_grad_batches=1, enable_validation=True, max_epochs=3, fit_loop=loop, callbacks=[]
    )
    counter.on_load_checkpoint(trainer, None, checkpoint)
    trainer.max_epochs, checkpoint["loops"] = 1, {"fit_loop": {}}
    with pytest.raises(DataError, match=r"the checkpoint is at epoch 3, .* and the run has 1 epochs"):
        SampleCounter(seed=7).on_load_checkpoint(trainer, None, checkpoint)
    if late:
        counter.attach(sampler)
    assert counter.state == state
    assert list(sampler) == [(2, 8), (2, 9), (2, 10), (2, 11)]


@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_step_follows_on_the_last_micro_batch(accumulation):
    trainer = SimpleNamespace(accumulate_grad_batches=accumulation)
    found = [index for index in range(12) if stepped(trainer, index)]
    assert found == list(range(accumulation - 1, 12, accumulation))


def test_a_checkpoint_holds_the_state_of_after_the_step(saved):
    content = torch.load(saved.path, weights_only=True)
    assert saved_state(content) == TrainState(seed=0, batch_size=4, num_samples=13, epoch=1, samples_consumed=4)
    assert content["global_step"] == 4


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"seed": 3}, "with seed 0, this run has 3"),
        ({"batch_size": 2}, "with global batch size 4, this run has 2"),
        ({"num_samples": 14}, "with samples 13, this run has 14"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tiny, saved, tmp_path, change, text):
    net = tiny.Net()
    with pytest.raises(UsageError, match=f"^the checkpoint was made {text}: repeat the options"):
        tiny.fit(net, tmp_path, tiny.Cut(**change), checkpoint=saved.path)
    assert net.trained == []


def test_a_checkpoint_without_state_is_refused(tiny, saved, tmp_path):
    content = torch.load(saved.path, weights_only=True)
    del content["callbacks"]["SampleCounter"]
    torch.save(content, tmp_path / "other.ckpt")
    net = tiny.Net()
    with pytest.raises(DataError, match=r"^the checkpoint does not record which samples it was trained on"):
        tiny.fit(net, tmp_path, checkpoint=tmp_path / "other.ckpt")
    assert net.trained == []


def test_reading_the_state_of_weights_alone_is_refused():
    with pytest.raises(DataError, match="holds weights only"):
        saved_state({"state_dict": {}})


def test_a_state_that_is_none_is_refused():
    with pytest.raises(DataError, match=r"^expected the state of a training run, with seed"):
        saved_state({"callbacks": {"SampleCounter": {"epoch": 1}}})


@pytest.mark.parametrize(("rank", "expected"), [(0, [0, 2, 8, 10]), (1, [4, 6, 12, 14])])
def test_each_micro_batch_is_seeded_by_its_first_sample(monkeypatch, rank, expected):
    """Batches of 8: two ranks with two micro-batches of 2 each."""
    seeded, counter = [], SampleCounter(seed=5)
    monkeypatch.setattr(counters, "seed_generators", lambda *place: seeded.append(place))
    counter.attach(TrainSampler(17, 8))
    trainer = SimpleNamespace(world_size=2, global_rank=rank, accumulate_grad_batches=2)
    for index in range(4):
        counter.on_train_batch_start(trainer, None, None, index)
        counter.on_train_batch_end(trainer, None, None, None, index)
    counter.on_train_epoch_end(trainer, None)
    counter.on_train_batch_start(trainer, None, None, 0)
    assert seeded == [(5, 0, position) for position in expected] + [(5, 1, expected[0])]


def test_ranks_that_stand_at_different_places_are_an_error():
    """Where the ranks stand is injected; two ranks are run in `test_keeper`."""
    counter = SampleCounter(seed=0)
    counter.attach(TrainSampler(13, 4))
    spread = {"min": 0, "max": 3}
    strategy = SimpleNamespace(root_device="cpu", reduce=lambda value, reduce_op: value + spread[reduce_op])
    with pytest.raises(DataError, match=r"different checkpoints: from epoch 0, sample 0 to epoch 3, sample 3"):
        counter.on_fit_start(SimpleNamespace(strategy=strategy), None)


@pytest.mark.parametrize(
    ("hook", "count", "asks"), [("start", 1, True), ("start", 4, False), ("start", 6, True), ("end", 7, False)]
)
def test_a_checkpoint_saved_within_an_accumulation_goes_on_from_the_last_step(tiny, tmp_path, hook, count, asks):
    """But for BatchNorm's running statistics, which have seen half of the step: Lightning saves them as they are."""
    cut = tiny.Cut(accumulation=2, cadence="epoch", asks_steps=asks)
    whole = whole_run(tiny, tmp_path / "whole", cut, [SaveAt(tmp_path / "odd.ckpt", hook, count)])
    rest = whole_run(tiny, tmp_path / "rest", cut, checkpoint=tmp_path / "odd.ckpt")
    step = count // 2 if hook == "end" else (count - 1) // 2
    assert rest["trained"] == whole["trained"][2 * step :]
    assert rest["validated"] == whole["validated"][step // 3 :]
    assert rest["rates"] == whole["rates"][step:]
    for name in ("optimizer", "steps"):
        assert rest[name] == whole[name], name
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for name, value in whole["weights"].items():
        assert name.endswith(statistics) or rest["weights"][name] == value, name


class StatefulLoader:
    """Lightning's own way of going on within an epoch: a loader with a state."""

    def __init__(self, loader, sampler):
        self.loader, self.sampler = loader, sampler

    def __iter__(self):
        return iter(self.loader)

    def __len__(self):
        return len(self.loader)

    def state_dict(self):
        return {"done": 4}

    def load_state_dict(self, state):
        self.sampler.resume(1, state["done"])


def fit_plain(tiny, cut, callbacks=(), stateful=False, checkpoint=None):
    """Without a counter."""
    net, sampler = tiny.Net(asks_steps=cut.asks_steps), TrainSampler(cut.num_samples, cut.batch_size)
    loader = build_loader(tiny.Positions(), sampler, Loading(batch_size=4, num_workers=cut.workers))
    train = StatefulLoader(loader, sampler) if stateful else loader
    trainer = tiny.make_trainer(cut, list(callbacks), enable_checkpointing=False)
    trainer.fit(net, train, tiny.make_loaders(cut, sampler)[1], ckpt_path=checkpoint, weights_only=True)
    return net.trained


@pytest.mark.parametrize("asks", [False, True])
def test_issue_20550_control_a_loader_with_a_state_loses_it_if_the_number_of_steps_was_asked_for(tiny, tmp_path, asks):
    cut, path = tiny.Cut(asks_steps=asks), tmp_path / "four.ckpt"
    whole = fit_plain(tiny, cut, [SaveAt(path, "end", 4)], stateful=True)
    rest = fit_plain(tiny, cut, stateful=True, checkpoint=path)
    assert (rest == whole[4:]) is not asks


@pytest.mark.parametrize("workers", [0, 2])
def test_issue_20550_the_place_is_kept_if_the_number_of_steps_was_asked_for(tiny, saved, tmp_path, workers):
    cut = tiny.Cut(asks_steps=True, workers=workers, cadence="epoch")
    rest = whole_run(tiny, tmp_path, cut, checkpoint=saved.path)
    assert rest["trained"] == saved.report["trained"][4:]
    assert rest["rates"] == saved.report["rates"][4:]
    assert rest["weights"] == saved.report["weights"]


def test_issue_21938_control_the_first_resumed_epoch_is_epoch_0_with_workers(tiny, tmp_path):
    path = tmp_path / "epoch.ckpt"
    whole = fit_plain(tiny, tiny.Cut(), [SaveAt(path, "epoch", 1)])
    assert fit_plain(tiny, tiny.Cut(workers=0), checkpoint=path) == whole[3:]
    rest = fit_plain(tiny, tiny.Cut(workers=2), checkpoint=path)
    assert [epoch for batch in rest for epoch, _ in batch] == [0] * 12 + [2] * 12


@pytest.mark.parametrize("workers", [0, 2])
def test_issue_21938_the_first_resumed_epoch_is_the_right_one(tiny, saved, tmp_path, workers):
    cut = tiny.Cut(workers=workers, cadence="epoch")
    whole = whole_run(tiny, tmp_path / "whole", saved.cut, [SaveAt(tmp_path / "epoch.ckpt", "epoch", 1)])
    assert whole["trained"] == saved.report["trained"]
    last = torch.load(tmp_path / "epoch.ckpt", weights_only=True)
    assert saved_state(last).steps == 3
    rest = whole_run(tiny, tmp_path / "rest", cut, checkpoint=tmp_path / "epoch.ckpt")
    assert rest["trained"] == whole["trained"][3:]
    assert rest["weights"] == whole["weights"]
