"""A shard's address reaches the command of --pipe as one word, whatever it contains, and is never executed."""

import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sharding.errors import UsageError
from training.streaming.pipe_command import to_script

TEMPLATES = {
    "printf %s {url}": "{}",
    'printf %s "{url}"': "{}",
    "printf %s '{url}'": "{}",
    "printf %s ${url}": "{}",
    'printf %s "${url}"': "{}",
    'printf %s "$1"': "{}",
    'printf %s "${1}"': "{}",
    'printf %s "{url}?a=1&b=2"': "{}?a=1&b=2",
    "printf %s 'http://h/'{url}\"?x\"": "http://h/{}?x",
    "printf %s '<' >/dev/null; printf %s {url} | cat": "{}",
    "(printf %s {url})": "{}",
    "sh -c 'printf %s \"$1\"' sh {url}": "{}",
    "sh -c 'printf %s \"$1\"' sh '{url}'": "{}",
    'for one in {url}; do printf %s "$one"; done': "{}",
    "printf %s%s {url} '{url}'": "{}{}",
    "printf '%s' {url} \\\n | cat": "{}",
}
"""Command -> what it prints, with {} for the address."""

ADDRESSES = [
    "set/shards/x.tar",
    "a b/$(touch canary)/`touch canary`;touch canary",
    "it's \"quoted\" '; touch canary; '",
    '"; touch canary; "',
    "line\nline\ttouch canary\n",
    "*?[a-z]~ $HOME ${1} $$ \\ \\n {url} %s & | > canary",
    "k\u00e9y\udcff",
]


def printed(template, address):
    command = ["/bin/sh", "-c", to_script(template), "sh", address]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60)
    return done.stdout.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_address_is_one_word_and_is_not_executed(template, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for address in ADDRESSES:
        assert printed(template, address) == TEMPLATES[template].format(address, address)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=100, deadline=None)
@given(
    template=st.sampled_from(list(TEMPLATES)), address=st.text(st.characters(codec="utf-8", exclude_characters="\0"))
)
def test_any_address_is_one_word(template, address):
    assert printed(template, address) == TEMPLATES[template].format(address, address)


@pytest.mark.parametrize(
    "command",
    [
        "sh -c 'cat {url}'",
        'bash -c "zstd -dc {url}"',
        "sh -c 'cat<{url}'",
        "sh -c cat\\ {url}",
        "sh -c 'cat '{url}",
        "sh -c true'&&'{url}",
        'cat "$(echo {url})"',
        'cat "`echo {url}`"',
        "python -c 'open(\"{url}\")'",
    ],
)
def test_a_place_within_a_quoted_command_is_refused(command):
    with pytest.raises(UsageError, match=r"--pipe: \{url\} stands within quotes together with other words"):
        to_script(command)


@pytest.mark.parametrize("command", ["cat '{url}", 'cat "{url}', "cat {url} \\", "cat {url} # don't"])
def test_an_unclosed_quote_is_refused_without_showing_the_command(command):
    with pytest.raises(UsageError, match="a quote that is not closed") as caught:
        to_script(f"S3CRET={command}")
    assert "S3CRET" not in str(caught.value)


PIECES = ["{url}", "{url}", "'", '"', "\\", " ", "$", "`", "(", ")", ";", "#", "printf %s ", "<<E\n", "&", "|", "\n"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.sampled_from(PIECES), min_size=1, max_size=12))
def test_no_quotes_around_the_place_execute_the_address(pieces, tmp_path):
    """The shell may find such a command wrong; it finds no command in the address."""
    try:
        script = to_script("".join(pieces))
    except UsageError:
        return
    address = "x;touch canary;$(touch canary)`touch canary`'\"\n touch canary\n&touch canary #"
    assert "touch" not in script
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    subprocess.run(["/bin/sh", "-c", script, "sh", address], cwd=tmp_path, timeout=60, check=False, **quiet)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["cat", "cat \\{url}", "cat ${URL}"])
def test_a_command_has_a_place_for_the_address(command):
    with pytest.raises(UsageError, match=r"--pipe: expected a command with \{url\} in it"):
        to_script(command)
