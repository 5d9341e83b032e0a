"""docs/cost.svg: what each service costs in production at the three volumes, one panel for each."""

from collections.abc import Iterator
from xml.sax.saxutils import escape

from infra.cost.bill import SERVICES
from infra.cost.tables import dollars, production

_ROW, _TOP, _NAMES, _PANEL, _BAR = 24, 64, 232, 196, 118
_TEXT = 'font-family="system-ui, sans-serif" font-size="13"'


def svg() -> str:
    """The whole picture; each panel has its own scale, and each bar its number."""
    bills = production()
    shown = [name for name in SERVICES if any(bill.get(name, 0) >= 0.5 for bill in bills.values())]
    width, height = _NAMES + _PANEL * len(bills), _TOP + _ROW * len(shown) + 12
    body = "\n".join(_body(bills, shown))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" role="img"'
        f' aria-label="Cost of production a month by service">\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _body(bills: dict[str, dict[str, float]], shown: list[str]) -> Iterator[str]:
    yield _text(
        12, 22, "Production, US dollars a month; bars are of each volume's own scale", weight="600"
    )
    for row, service in enumerate(shown):
        yield _text(_NAMES - 12, _TOP + _ROW * row + 15, service, anchor="end")
    for panel, (told, bill) in enumerate(bills.items()):
        left = _NAMES + _PANEL * panel
        total = dollars(sum(bill.values()))
        yield _text(left, 48, f"{told} events a day: {total}", weight="600")
        most = max(bill.values())
        for row, service in enumerate(shown):
            yield from _bar(left, _TOP + _ROW * row, bill.get(service, 0.0), most)


def _bar(left: int, top: int, usd: float, most: float) -> Iterator[str]:
    length = max(1, round(_BAR * usd / most))
    yield f'<rect x="{left}" y="{top + 3}" width="{length}" height="16" rx="2" fill="#2f6db3"/>'
    yield _text(left + length + 6, top + 15, dollars(usd), colour="#444444")


def _text(
    x: int,
    y: int,
    text: str,
    *,
    anchor: str = "start",
    weight: str = "400",
    colour: str = "#111111",
) -> str:
    return (
        f'<text x="{x}" y="{y}" {_TEXT} font-weight="{weight}" text-anchor="{anchor}"'
        f' fill="{colour}">{escape(text)}</text>'
    )
