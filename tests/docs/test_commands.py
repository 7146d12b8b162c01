"""Commands in the documents that somebody follows word by word are parsed by the real parser."""

import pytest

from tests.docs.documents import ROOT, parse, read_commands


@pytest.mark.parametrize("name", ["real-run", "tutorial-defects"])
def test_every_command_of_a_document_is_one_of_the_program(name, monkeypatch):
    monkeypatch.chdir(ROOT)  # where configs/ is
    commands = read_commands((ROOT / f"docs/{name}.md").read_text())
    for words in commands:
        parse(words)
    assert len(commands) > 8


def test_commands_are_read_as_a_shell_reads_them():
    block = "for seed in 3 4; do\n  depthstream a 'b c' \\\n    --out r-$seed  # a word\ndone\nls\n"
    text = f"```bash\n{block}```\n\n    depthstream d\n"
    assert read_commands(text) == [("a", "b c", "--out", "r-3")]
