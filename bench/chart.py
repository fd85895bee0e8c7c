"""Charts as SVG, without any library."""

import math
from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 40, 45
_BARS_FROM, _BAR = 190, 18
_COLOURS = ("#1f6feb", "#d1570d", "#2da44e", "#8250df")

Series = Mapping[str, Sequence[tuple[float, float]]]


def line_chart(title: str, across: str, up: str, series: Series) -> str:
    """Return an SVG of one line for each of ``series``; both axes begin at 0."""
    points = [point for line in series.values() for point in line] or [(1.0, 1.0)]
    most_x, most_y = (_round_up(max(values)) for values in zip(*points, strict=True))
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(_LEFT, 18, title, size=14),
        *_axes(most_x, most_y, across, up),
    ]
    for number, line in enumerate(series.values()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{_x(x, most_x):.1f},{_y(y, most_y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
    parts += _legend(list(series), _LEFT + 10)
    return "\n".join([*parts, "</svg>"]) + "\n"


def bar_chart(title: str, along: str, groups: Mapping[str, Mapping[str, float]]) -> str:
    """Return an SVG of bars that lie: for each of ``groups``, one for each name in it."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    longest = _round_up(max((v for group in groups.values() for v in group.values()), default=1.0))
    height = _TOP + sum(_bar_group(group) for group in groups.values()) + _BOTTOM
    size = f'viewBox="0 0 {_WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(20, 18, title, size=14),
        *_legend(names, 20),
    ]
    top = float(_TOP)
    for group, bars in groups.items():
        parts.append(_text(_BARS_FROM - 8, top + _BAR * len(bars) / 2 + 4, group, anchor="end"))
        for number, (name, value) in enumerate(bars.items()):
            y, width = top + _BAR * number, (_WIDTH - _BARS_FROM - 60) * value / longest
            colour = _COLOURS[names.index(name) % len(_COLOURS)]
            parts.append(
                f'<rect x="{_BARS_FROM}" y="{y:.1f}" width="{width:.1f}" height="{_BAR - 3}"'
                f' fill="{colour}"/>'
            )
            parts.append(_text(_BARS_FROM + width + 5, y + _BAR - 5, f"{value:.2g}"))
        top += _bar_group(bars)
    parts.append(_text(_WIDTH / 2, height - 12, along, anchor="middle"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar_group(bars: Mapping[str, float]) -> int:
    return _BAR * len(bars) + _BAR // 2


def _legend(names: Sequence[str], start: int) -> list[str]:
    parts = []
    for number, name in enumerate(names):
        left = start + 180 * number
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(f'<rect x="{left}" y="26" width="14" height="4" fill="{colour}"/>')
        parts.append(_text(left + 20, 33, name))
    return parts


def _axes(most_x: float, most_y: float, across: str, up: str) -> list[str]:
    parts = []
    for step in range(6):
        y, x = most_y * step / 5, most_x * step / 5
        at = _y(y, most_y)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"'
            ' stroke="#d0d7de"/>'
        )
        parts.append(_text(_LEFT - 6, at + 4, f"{y:g}", anchor="end"))
        parts.append(_text(_x(x, most_x), _HEIGHT - _BOTTOM + 18, f"{x:g}", anchor="middle"))
    parts.append(_text(_WIDTH / 2, _HEIGHT - 8, across, anchor="middle"))
    parts.append(
        f'<text transform="translate(14 {_HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(up)}</text>"
    )
    return parts


def _x(value: float, most: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * value / most


def _y(value: float, most: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / most


def _round_up(value: float) -> float:
    """Return the next value whose fifth is a round number."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 1.5, 2, 3, 5, 7.5, 10) if power * step >= value)


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
        f' fill="#1f2328">{escape(text)}</text>'
    )
