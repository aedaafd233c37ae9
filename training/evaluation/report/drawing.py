"""A small chart as SVG: text stays text, colours come from the page's CSS, so that it follows light and dark and prints sharply."""

import math
from collections.abc import Sequence
from xml.etree import ElementTree

WIDTH, HEIGHT = 300, 250
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 26, 38  # pixels around the plotting area

Range = tuple[float, float]
Points = Sequence[tuple[float, float]]
_SLACK = 1e-9  # 1 / 0.2 is not quite 5


class Chart:
    """Plotting area of `x` × `y` data units. `style` is always a CSS class of the page's template ("s0" … "s5", "dashed", …).

    Raises ValueError for a range without width.
    """

    def __init__(self, title: str, describes: str, x: Range, y: Range, labels: tuple[str, str]) -> None:
        if x[0] >= x[1] or y[0] >= y[1]:
            raise ValueError(f"chart {title!r}: ranges x {x} and y {y}; each must end above its start")
        self._x, self._y = x, y
        self._svg = ElementTree.Element("svg", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", attrib={"aria-label": describes})
        self._text(title, WIDTH / 2, 14, "title")
        self._text(labels[0], (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "label")
        middle = (TOP + HEIGHT - BOTTOM) / 2
        self._text(labels[1], 12, middle, "label", transform=f"rotate(-90 12 {middle:g})")
        for value in ticks(x):
            place = self._across(value)
            self._line((place, TOP), (place, HEIGHT - BOTTOM), "grid")
            self._text(f"{value:g}", place, HEIGHT - BOTTOM + 13, "tick")
        for value in ticks(y):
            place = self._down(value)
            self._line((LEFT, place), (WIDTH - RIGHT, place), "grid")
            self._text(f"{value:g}", LEFT - 5, place + 3, "tick end")

    def curve(self, points: Points, style: str) -> None:
        """A line through points in data units; what is outside of the ranges is drawn at their edge."""
        places = " ".join(f"{self._across(x):.1f},{self._down(y):.1f}" for x, y in points)
        ElementTree.SubElement(self._svg, "polyline", attrib={"points": places, "class": f"curve {style}"})

    def dot(self, x: float, y: float, style: str, says: str, square: bool = False) -> None:
        """A mark with a text shown on pointing."""
        across, down = self._across(x), self._down(y)
        if square:
            place = {"x": f"{across - 2.6:.1f}", "y": f"{down - 2.6:.1f}", "width": "5.2", "height": "5.2"}
        else:
            place = {"cx": f"{across:.1f}", "cy": f"{down:.1f}", "r": "3"}
        mark = ElementTree.SubElement(self._svg, "rect" if square else "circle", attrib={**place, "class": f"dot {style}"})
        ElementTree.SubElement(mark, "title").text = says

    def markup(self) -> str:
        return ElementTree.tostring(self._svg, encoding="unicode")

    def _across(self, value: float) -> float:
        low, high = self._x
        return LEFT + (WIDTH - LEFT - RIGHT) * (min(max(value, low), high) - low) / (high - low)

    def _down(self, value: float) -> float:
        low, high = self._y
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (min(max(value, low), high) - low) / (high - low)

    def _line(self, start: tuple[float, float], end: tuple[float, float], style: str) -> None:
        ends = zip(("x1", "y1", "x2", "y2"), (*start, *end), strict=True)
        ElementTree.SubElement(self._svg, "line", attrib={**{k: f"{v:.1f}" for k, v in ends}, "class": style})

    def _text(self, text: str, x: float, y: float, style: str, **more: str) -> None:
        place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "class": style, **more}
        ElementTree.SubElement(self._svg, "text", attrib=place).text = text


def ticks(limits: Range, most: int = 6) -> list[float]:
    """Round values within the limits, at most `most` of them."""
    low, high = limits
    step = 10.0**-6
    while True:
        for factor in (1, 2, 5):
            first, last = math.ceil(low / (step * factor) - _SLACK), math.floor(high / (step * factor) + _SLACK)
            if last - first < most:
                return [round(n * step * factor, 9) for n in range(first, last + 1)]
        step *= 10


def around(values: Sequence[float], share: float = 0.06) -> Range:
    """A range that holds all values with some room; (0, 1) without values."""
    if not values:
        return 0.0, 1.0
    room = share * (max(values) - min(values)) or 0.5 * abs(values[0]) or 0.5
    return min(values) - room, max(values) + room
