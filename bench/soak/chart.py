"""A chart of a soak test as SVG: one panel per quantity, with the time on the x-axis."""

from collections.abc import Callable, Sequence
from html import escape

from bench.soak.samples import Sample

_WIDTH, _HEIGHT, _MARGIN, _GAP = 900, 110, 60, 34  # pixels
_COLOURS = ("#1b6ca8", "#c8553d", "#3c8031", "#7b4b94", "#8a6d1b")

Series = dict[str, list[float]]


def draw(samples: Sequence[Sample]) -> str:
    """Return the SVG document."""
    panels: list[tuple[str, Series]] = [
        ("memory of processes that were not killed, MB", _list_memory(samples)),
        ("events that are not folded", _list(samples, "events", lambda s: s.lag)),
        ("messages that are not delivered", _list(samples, "messages", lambda s: s.undelivered)),
        ("95th percentile of queries, ms", _list(samples, "ms", lambda s: s.query_p95_ms)),
        ("disk, MB", _list(samples, "database", lambda s: s.database_mb)
         | _list(samples, "exports and logs", lambda s: s.files_mb)),
        ("dead letters", _list(samples, "dead letters", lambda s: s.dead_letters)),
    ]  # fmt: skip
    times = [sample.at_s / 60 for sample in samples]
    height = len(panels) * (_HEIGHT + _GAP) + _GAP
    size = f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
    ]
    for number, (title, series) in enumerate(panels):
        parts += _draw_panel(_GAP + number * (_HEIGHT + _GAP), title, times, series)
    last = f"{times[-1]:.0f} min"
    parts.append(f'<text x="{_WIDTH - _MARGIN}" y="{height - 10}" text-anchor="end">{last}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _list(samples: Sequence[Sample], name: str, read: Callable[[Sample], float]) -> Series:
    return {name: [read(sample) for sample in samples]}


def _list_memory(samples: Sequence[Sample]) -> Series:
    return {name: [s.memory_mb[name] for s in samples] for name in samples[-1].memory_mb}


def _draw_panel(top: int, title: str, times: Sequence[float], series: Series) -> list[str]:
    highest = max(1.0, *(value for values in series.values() for value in values))
    right, bottom = _WIDTH - _MARGIN, top + _HEIGHT
    parts = [
        f'<text x="{_MARGIN}" y="{top - 6}" font-weight="bold">{escape(title)}</text>',
        f'<path d="M{_MARGIN} {top}V{bottom}H{right}" fill="none" stroke="#999"/>',
        f'<text x="{_MARGIN - 6}" y="{top + 10}" text-anchor="end">{highest:,.0f}</text>',
        f'<text x="{_MARGIN - 6}" y="{bottom}" text-anchor="end">0</text>',
    ]
    x = right
    for (name, values), colour in reversed(list(zip(series.items(), _COLOURS, strict=False))):
        points = " ".join(
            f"{_MARGIN + (right - _MARGIN) * at / max(times[-1], 1e-9):.1f},"
            f"{bottom - _HEIGHT * value / highest:.1f}"
            for at, value in zip(times, values, strict=True)
        )
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
        parts.append(
            f'<text x="{x}" y="{top - 6}" text-anchor="end" fill="{colour}">{escape(name)}</text>'
        )
        x -= 8 * len(name) + 12
    return parts
