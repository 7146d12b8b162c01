import numpy as np
import pytest
import torch.multiprocessing as multiprocessing

from training.loading.dataset import DiodeDepthDataset
from training.loading.images import ImageDataset
from training.loading.shared_columns import SharedColumn, share

MARK = 77


def test_the_values_are_those_of_the_reader(diode_sets):
    reader = diode_sets[0].reader
    shared = share(reader)
    assert len(shared) == len(reader)
    assert shared.columns.keys() == reader.columns.keys()
    for name, column in reader.columns.items():
        assert len(shared.columns[name]) == len(column)
        for row in range(len(column)):
            np.testing.assert_array_equal(shared.columns[name][row], column[row])


def _mark(reader) -> None:
    for column in reader.columns.values():
        column._values[0] = MARK


@pytest.mark.slow
def test_another_process_gets_the_columns_themselves_and_no_copy(diode_sets):
    reader = share(diode_sets[0].reader)
    before = {name: np.array(column[1]) for name, column in reader.columns.items()}
    process = multiprocessing.get_context("spawn").Process(target=_mark, args=(reader,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    for name, column in reader.columns.items():
        assert np.all(column[0] == MARK), name
        np.testing.assert_array_equal(column[1], before[name])


def test_datasets_share_theirs_and_hold_no_table(diode_sets, megadepth_set):
    depth, images = DiodeDepthDataset(diode_sets[0]), ImageDataset([megadepth_set])
    for reader in (depth._reader, *images._readers):
        assert all(isinstance(column, SharedColumn) for column in reader.columns.values())
    for dataset in (depth, images):
        assert not any("DataFrame" in str(type(value)) for value in dataset.__dict__.values())
