import os

import pytest

from sharding.machine.openmp import SPIN_COUNT, spin_briefly


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # so that what the call sets is undone
        monkeypatch.delenv(name)


def test_the_spin_count_is_set_where_nothing_is_chosen():
    spin_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == SPIN_COUNT


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "PASSIVE"), ("GOMP_SPINCOUNT", "7")])
def test_a_choice_of_the_user_is_kept(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    spin_briefly()
    assert os.environ[name] == value
    assert os.environ.get("GOMP_SPINCOUNT", "7") == "7"
