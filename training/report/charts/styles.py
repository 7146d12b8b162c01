"""Colours, markers and dashes: as many as there are arms and runs, each once, readable in the light and the dark theme.

The first colours are chosen by hand; each further one is, of a grid of readable colours, the one that is farthest from
all before it, in the theme in which it is nearer to them. Distances are Euclidean in OKLab (B. Ottosson, 2020,
bottosson.github.io/posts/oklab), in which equal distances look about equal.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

MARKERS = ("circle", "square", "diamond", "triangle")
"""Shapes of the points, in turn; they distinguish lines without colour."""

BY_HAND = (
    ("#1f66c7", "#7fb0ff"),
    ("#c65d07", "#ffa057"),
    ("#0f8a6d", "#4fd0ae"),
    ("#8a3fb8", "#cf9bf2"),
    ("#b3224f", "#ff8fb0"),
    ("#4f6b12", "#b5d264"),
)
"""Colours of the first arms, in the light and the dark theme."""

SURFACES = ("#ffffff", "#1a1d23")
"""What colours are seen on, in the light and the dark theme."""

MIN_CONTRAST = 3.0
"""Least contrast to the surface: WCAG 2.1, 1.4.11, for graphics."""

# Lightness in the light and the dark theme, and chroma, of the colours that are chosen from.
_TONES = ((0.42, 0.90), (0.50, 0.80), (0.58, 0.70), (0.34, 0.76), (0.64, 0.64))
_CHROMAS = (0.17, 0.12, 0.07, 0.03)
_HUES = range(0, 360, 12)

_Lab = tuple[float, float, float]


@dataclass(frozen=True)
class Style:
    """How an arm is drawn.

    Attributes:
        index: Its number, from 0, which is that of its CSS class.
        light: Colour in the light theme, #rrggbb.
        dark: Colour in the dark theme.
        marker: One of MARKERS.
    """

    index: int
    light: str
    dark: str
    marker: str

    @property
    def css(self) -> str:
        """Return its CSS class."""
        return f"s{self.index}"


def arm_styles(number: int) -> list[Style]:
    """Return styles for a number of arms, all in different colours."""
    return [
        Style(index, light, dark, MARKERS[index % len(MARKERS)])
        for index, (light, dark) in enumerate(_colours(number)[:number])
    ]


def style_sheet(styles: Sequence[Style]) -> str:
    """Write the CSS that gives each style's class its colour `--s`, in both themes."""
    light = " ".join(f".{one.css} {{ --s: {one.light}; }}" for one in styles)
    dark = " ".join(f".{one.css} {{ --s: {one.dark}; }}" for one in styles)
    return f"{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}"


def dash(index: int) -> str:
    """Return the stroke-dasharray of the `index`-th line of one colour: "" for none, then a dash and ever more dots."""
    return "" if index == 0 else "7 3" + " 1.5 3" * (index - 1)


@cache
def _colours(number: int) -> tuple[tuple[str, str], ...]:
    chosen = list(BY_HAND)
    grid = dict.fromkeys(_grid(), math.inf)  # distance to the nearest colour that is chosen
    new = chosen
    while len(chosen) < number and grid:
        for pair in grid:
            grid[pair] = min([grid[pair], *(_apart(pair, other) for other in new)])
        new = [max(grid, key=lambda pair: grid[pair])]
        del grid[new[0]]
        chosen = [*chosen, *new]
    return tuple(chosen)


def _grid() -> Iterator[tuple[str, str]]:
    for hue in _HUES:
        for tones in _TONES:
            for chroma in _CHROMAS:
                pair = [_hex(lightness, chroma, math.radians(hue)) for lightness in tones]
                if all(pair) and all(
                    contrast(colour, surface) >= MIN_CONTRAST for colour, surface in zip(pair, SURFACES, strict=True)
                ):
                    yield pair[0], pair[1]


def _apart(one: tuple[str, str], other: tuple[str, str]) -> float:
    return min(distance(a, b) for a, b in zip(one, other, strict=True))


def distance(one: str, other: str) -> float:
    """Return the distance of two colours in OKLab; black and white are 1 apart."""
    return math.dist(_lab(one), _lab(other))


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2.1)."""
    first, second = sorted(
        0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in map(_linear, (one, other))
    )
    return (second + 0.05) / (first + 0.05)


def _linear(colour: str) -> _Lab:
    values = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return red, green, blue


@cache
def _lab(colour: str) -> _Lab:
    red, green, blue = _linear(colour)
    long = math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue)
    middle = math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue)
    short = math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


def _hex(lightness: float, chroma: float, hue: float) -> str:
    """Return the colour #rrggbb of OKLCh coordinates; "" if sRGB has none."""
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    )
    if not all(-1e-6 <= value <= 1 + 1e-6 for value in linear):
        return ""
    values = [max(0.0, min(1.0, value)) for value in linear]
    coded = [12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055 for v in values]
    return "#" + "".join(f"{round(255 * value):02x}" for value in coded)
