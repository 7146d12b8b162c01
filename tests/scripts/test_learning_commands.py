import pytest
from learning_bench.commands import call, quoted

from sharding.errors import DataError
from sharding.format.manifest import MANIFEST_NAME


def test_a_command_gives_its_object_and_its_progress_is_not_in_it(diode_sets, tmp_path, capfd):
    copy = tmp_path / "with a space"
    copy.symlink_to(diode_sets[1].url)
    assert (copy / MANIFEST_NAME).exists()
    found = call(f"inspect {quoted(copy)}")
    assert found["samples"] == len(diode_sets[1])
    shown = capfd.readouterr()
    assert shown.out == ""
    assert f"$ depthstream inspect '{copy}'" in shown.err


def test_a_command_that_fails_is_named_with_its_status(tmp_path, capfd):
    with pytest.raises(DataError, match=r"`depthstream inspect .*none --json` ended with status 2; its message is abo"):
        call(f"inspect {quoted(tmp_path / 'none')}")
    assert "none" in capfd.readouterr().err
