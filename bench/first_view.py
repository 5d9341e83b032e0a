"""A first visit of the page on a phone with a slow CPU, in Chromium."""

from collections.abc import Iterator
from statistics import median

from playwright.sync_api import Browser

from bench.lines import Line, limit
from bench.server import Server
from tests.support import browser
from tests.support.browser import Visit
from tests.support.local_stack import Stack

_ROUNDS = 9
_SLOWDOWN = 4  # Lighthouse slows the CPU by this factor to measure a phone
_CONTENT_MS, _KILOBYTES, _SHIFT, _HEIGHT, _CHARTS = 1_600, 75, 20, 6_000, 8

# The height of the page in pixels, and the number of its charts.
_LENGTH = """[document.documentElement.scrollHeight,
  document.querySelectorAll('main :is(.chart, .posts, .year, .skyline)').length]"""

# The milliseconds from the navigation until the largest text of the first view was drawn
# (https://web.dev/articles/lcp).
_DRAWN = """async () => {
  await new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)));
  return new Promise((resolve) =>
    new PerformanceObserver((list) => resolve(list.getEntries().at(-1).startTime))
      .observe({ type: 'largest-contentful-paint', buffered: true }));
}"""


def measure_first_view(_server: Server) -> Iterator[Line]:
    """Measure the view of the demo's learner, each time with an empty cache of the browser."""
    with browser.stack() as stack, browser.browser() as chromium:
        rounds = [_visit(stack, chromium) for _ in range(_ROUNDS + 1)][1:]  # the first one warms up
    drawn, loaded, shifts, lengths = zip(*rounds, strict=True)
    what = f"first visit on a phone whose CPU is slowed by {_SLOWDOWN}"
    yield limit(
        f"{what}: time until the largest content is drawn", median(drawn), _CONTENT_MS, "ms"
    )
    yield limit(f"{what}: size of all files, compressed", max(loaded) / 1_000, _KILOBYTES, "KB")
    yield limit(f"{what}: layout shift", 1_000 * max(shifts), _SHIFT, "thousandths")
    heights, charts = zip(*lengths, strict=True)
    yield limit(f"{what}: height of the page", max(heights), _HEIGHT, "px")
    yield limit(f"{what}: charts", max(charts), _CHARTS, "charts")


def _visit(stack: Stack, chromium: Browser) -> tuple[float, float, float, list[int]]:
    visit = Visit(stack, chromium.new_context(**browser.PHONE))
    visit.context.new_cdp_session(visit.page).send(
        "Emulation.setCPUThrottlingRate", {"rate": _SLOWDOWN}
    )
    visit.open()
    drawn = visit.page.evaluate(_DRAWN)
    loaded, shift = sum(visit.transferred()), sum(shift[0] for shift in visit.shifts())
    for place in ("states", "sessions"):  # loaded when seen
        visit.page.locator(f"[data-key={place}]").scroll_into_view_if_needed()
        visit.page.wait_for_selector(f"[data-key={place}] table", state="attached")
    length: list[int] = visit.page.evaluate(_LENGTH)
    visit.context.close()
    return drawn, loaded, shift, length
