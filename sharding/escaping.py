"""Text that others chose, made safe to show: names of files and members, keys, what a server says."""

import re

MAX_SHOWN_CHARS = 300
"""Characters of one foreign text in a message."""

# C0 and C1 controls, DEL, what turns the direction of writing, line and paragraph separators, and half characters.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escape(text: str, keep: str = "") -> str:
    r"""Replace what a terminal would obey by its escape, as Python writes it: ESC by `\x1b`.

    Args:
        text: Any text.
        keep: Characters that stay, such as "\n" in a table.
    """
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else repr(found[0])[1:-1], text)


def shorten(text: str, most: int = MAX_SHOWN_CHARS) -> str:
    """Return the text, or its beginning and end with "..." between, so that it has at most `most` characters."""
    if len(text) <= most:
        return text
    head = (most - 3) * 2 // 3
    return f"{text[:head]}...{text[len(text) - (most - 3 - head) :]}"
