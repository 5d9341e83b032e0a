"""Benchmark of the search for items: the time from a keystroke until Chromium shows the rows."""

import statistics
from collections.abc import Iterator
from contextlib import ExitStack

from playwright.sync_api import Page

from bench import cores, function_client, functions, study, valkey
from bench.lines import Line, RowSkipped
from bench.server import Server
from progress.local import ports
from tests.support import browser

_DAYS, _ANSWERS, _FRESH = 625, 160, 32  # 200,625 events, 20,000 items
_ITEMS = _DAYS * _FRESH
_LIMIT = 200.0  # milliseconds
_TYPED = ("word 1377", "rd 19", "ord 50", "d 999", "777", "1")

# The time from a key's event to the first frame after the rows have changed.
_OBSERVE = """() => {
  window.times = [];
  let pressed = null;
  addEventListener('keydown', (event) => { pressed = event.timeStamp; }, true);
  new MutationObserver(() => {
    if (pressed === null) return;
    const at = pressed;
    pressed = null;
    requestAnimationFrame(() => setTimeout(() => times.push(performance.now() - at)));
  }).observe(document.getElementById('main'), {
    subtree: true, childList: true, characterData: true, attributes: true,
  });
}"""


def measure_search(server: Server) -> Iterator[Line]:
    """Type search texts letter by letter; after each letter, wait until the rows appear."""
    if browser.PROGRAM is None:
        raise RowSkipped("there is no Chromium")
    store = server.create_store()
    [learner] = study.fill(
        store, learners=1, days=_DAYS, answers=_ANSWERS, fresh=_FRESH, items=_ITEMS
    )
    with ExitStack() as stack:
        issuer = stack.enter_context(function_client.serve_issuer())
        with cores.use(cores.REST):
            redis = stack.enter_context(valkey.run())
        environment = {**issuer.environment, "DATABASE_URL": store.url, "REDIS_URL": redis}
        unlimited = {"RATE_LIMIT_PER_MINUTE": "100000"}
        port = stack.enter_context(functions.run("query", **environment, **unlimited)).port
        page = stack.enter_context(browser.browser()).new_page()
        page.add_init_script(
            f"sessionStorage.setItem('progress.token', '{issuer.bearer(learner).split()[-1]}')"
        )
        page.goto(f"http://{ports.HOST}:{port}/#/items")
        yield _line(_measure(page))
    server.drop(store)


def _measure(page: Page) -> list[float]:
    """Return the durations in milliseconds."""
    durations: list[float] = []
    for text in _TYPED:
        page.evaluate("location.hash = '#/items'")
        page.reload()
        page.wait_for_selector(".item-list tbody tr")
        page.evaluate(_OBSERVE)
        page.get_by_role("searchbox").focus()
        for typed, letter in enumerate(text, 1):
            page.keyboard.press("Space" if letter == " " else letter)
            page.wait_for_function("typed => times.length === typed", arg=typed)
        durations += page.evaluate("times")
    return durations


def _line(durations: list[float]) -> Line:
    p95 = statistics.quantiles(durations, n=20)[-1]
    return Line(
        f"a search in {_ITEMS:,} items, keystroke to rows in Chromium: 95th percentile",
        f"{p95:.0f} ms (median {statistics.median(durations):.0f})",
        "",
        p95,
        _LIMIT,
        "ms",
        at_most=True,
    )
