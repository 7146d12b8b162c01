"""The demo's commands are children that import this package, and nothing of the current folder."""

from training.demo import call


def test_a_command_of_the_demo_imports_nothing_from_the_current_folder(tmp_path, monkeypatch, capfd):
    for name in ("training", "sharding", "json", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\nraise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    call(("--version",))
    assert capfd.readouterr().out.startswith("depthstream ")
    assert not (tmp_path / "executed").exists()
