"""Changes of bytes and of text, each a function of a random generator."""

import random
from collections.abc import Callable, Sequence

_NUMBERS = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\x00" * 8, b"9" * 400, b"-1", b"1e999", b"NaN")


def change_bytes(data: bytes, dice: random.Random, words: Sequence[bytes] = ()) -> bytes:
    """Change one to eight places of some bytes: flipped, removed, doubled, moved, or replaced by a word."""
    changed = bytearray(data)
    for _ in range(1 << dice.randrange(4)):
        dice.choice(_CHANGES)(changed, dice, words)
    return bytes(changed)


def change_text(text: str, dice: random.Random, words: Sequence[str]) -> str:
    """Change a text in the same ways."""
    encoded = [word.encode() for word in words]
    return change_bytes(text.encode(), dice, encoded).decode("utf-8", "replace")


def _place(changed: bytearray, dice: random.Random) -> int:
    return dice.randrange(len(changed) + 1)


def _flip(changed: bytearray, dice: random.Random, words: Sequence[bytes]) -> None:
    if changed:
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)


def _set(changed: bytearray, dice: random.Random, words: Sequence[bytes]) -> None:
    begin, word = _place(changed, dice), dice.choice((*_NUMBERS, *words))
    changed[begin : begin + len(word)] = word


def _insert(changed: bytearray, dice: random.Random, words: Sequence[bytes]) -> None:
    begin = _place(changed, dice)
    changed[begin:begin] = dice.choice((*_NUMBERS, *words))


def _remove(changed: bytearray, dice: random.Random, words: Sequence[bytes]) -> None:
    begin = _place(changed, dice)
    del changed[begin : begin + dice.choice((1, 2, 16, 512, 4096))]


def _double(changed: bytearray, dice: random.Random, words: Sequence[bytes]) -> None:
    begin, size = _place(changed, dice), dice.choice((1, 16, 512, 2048))
    changed[begin:begin] = changed[begin : begin + size]


def _cut(changed: bytearray, dice: random.Random, words: Sequence[bytes]) -> None:
    if dice.random() < 0.2:
        del changed[_place(changed, dice) :]


_CHANGES: tuple[Callable[[bytearray, random.Random, Sequence[bytes]], None], ...] = (
    *(_flip, _flip, _set, _set),
    *(_insert, _remove, _double, _cut),
)
