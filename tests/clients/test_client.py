"""The package learner-progress does what clients/vectors.json says, over each of its storages."""

import gzip
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from progress.serve import readiness
from tests.support import browser, folders, http_servers, learner_client, node
from tests.support.learner_client import CLIENT, VECTORS

GIVEN: list[dict[str, Any]] = json.loads(VECTORS.read_text(encoding="utf-8"))["vectors"]
# What differs in a browser is the storage: the gate runs the vectors that kill, damage or stop it.
_OF_STORAGES = {"kill", "killBefore", "damage", "fails"}
OF_STORAGES = [each for each in GIVEN if any(_OF_STORAGES & step.keys() for step in each["steps"])]
README = (CLIENT / "README.md").read_text(encoding="utf-8")
# Each vector has a database of its own.
_IN_PAGE = """async (vectors) => {
  const client = await import("/index.js");
  const { run } = await import("/vectors.mjs");
  const results = [];
  for (const [number, vector] of vectors.entries()) {
    results.push(await run(vector, client, () => client.indexedDBStorage(`outbox-${number}`)));
  }
  return results;
}"""
_OPEN = """async (url) => {
  const { Progress, indexedDBStorage } = await import("/index.js");
  const storage = indexedDBStorage("answers");
  window.progress = new Progress({ url, learner: "ann", token: () => "t", storage, delayMs: 1e6 });
  window.review = (itemId) => progress.reviewed({ itemId, rating: 3, intervalDays: 1 });
}"""
# The runs of a browser on one profile: what happens before the client opens its outbox, and then;
# and which of the two databases is damaged afterwards.
_FIRST, _SECOND, _NEITHER = "IndexedDB", "WebStorage", "none"
_EARLIER = "Object.defineProperty(navigator, 'storageBuckets', {})"  # one database is all it has
_UNLOCKED = "Object.defineProperty(navigator, 'locks', {})"
_RUNS = [
    ("", "review('sent')", _NEITHER),
    (_EARLIER, "progress.flush()", _NEITHER),
    (_UNLOCKED, "review('earlier')", _NEITHER),
    ("", "progress.refused().then(() => review('x')).then((id) => progress.discard(id))", _FIRST),
    ("", "review('later').then(() => progress.refused())", _SECOND),
    ("", "progress.refused()", _FIRST),
    ("", "progress.flush()", _NEITHER),
]
_LOAD = """const client = require("learner-progress");
console.log(typeof require("learner-progress/package.json"), typeof client.Progress);
const unread = "./node_modules/learner-progress"; // old bundlers do not read `exports`
for (const path of ["learner-progress", unread])
  console.log(typeof require(`${path}/reminder`).reminder);
delete globalThis.navigator; // as in Node 20
const storage = client.indexedDBStorage("answers");
storage.load().then(() => console.log("loads"), () => console.log("rejects"));
const id = "00000000-0000-4000-8000-000000000001";
require("node:fs").mkdirSync(`outbox/${id}.json`, { recursive: true });
const getAllKeys = async () => [`learner-progress:${id}`];
const store = { getAllKeys, getItem: () => Promise.reject(new Error("busy")) };
for (const unread of [client.fileStorage("outbox"), client.asyncStorage(store)])
  unread.load().then(([text]) => console.log(text instanceof Error));
for (const learner of [null, undefined, ""])
  try { new client.Progress({ url: "a", learner }) } catch (error) { console.log(`${error}`) }
"""
# What the code of the README takes from its app.
_SURROUNDINGS = """declare const url: string;
declare const user: { uid: string; getIdToken(fresh?: boolean): Promise<string> };
"""
_HIDING = """declare const client: import("learner-progress").Progress;
declare const AppState: { addEventListener(type: "change", f: (state: string) => void): void };
declare const self: {
  addEventListener(type: "sync", f: (event: { waitUntil(it: unknown): void }) => void): void;
};
"""
_ASYNC_STORAGE = """declare module "@react-native-async-storage/async-storage" {
  const store: import("learner-progress").AsyncStore;
  export default store;
}
"""


@pytest.mark.parametrize("storage", ["file", "async"])
def test_the_client_does_what_the_vectors_say_in_node(client_app: Path, storage: str) -> None:
    with folders.create("outboxes") as folder:
        driver = node.lines(client_app, "node", "driver.mjs", TMPDIR=str(folder))
        with driver as printed:
            url = f"{next(printed).strip()}/{storage}"
            told = node.run(client_app, "node", str(VECTORS.with_name("conformance.mjs")), url)
    assert told == f"{len(GIVEN)} passed, 0 failed, 0 left out\n"


class Site(NamedTuple):
    """A server of pages, and the items of each post that it took."""

    url: str
    posted: list[list[str]]


@pytest.fixture
def site(client_app: Path) -> Iterator[Site]:
    posted: list[list[str]] = []
    health = '{"now": "2026-11-27T09:00:00.000Z"}'
    pages = learner_client.page_handler(client_app, {"/": "<!doctype html>", "/health": health})

    class Handler(pages):  # type: ignore[valid-type,misc] # it is made for the app
        def do_POST(self) -> None:
            events = json.loads(self.read_body())
            posted.append([event["data"]["item_id"] for event in events])
            time.sleep(0.5)  # so that two tabs without a lock would send at once
            self.respond(202, json.dumps({"accepted": len(events), "refused": []}).encode())

    with http_servers.serve(Handler) as url:
        yield Site(url, posted)


def open_tab(browser: Browser | BrowserContext, url: str) -> Page:
    page = browser.new_page()
    page.goto(url)
    page.evaluate(_OPEN, url)
    return page


@pytest.mark.parametrize(
    "given",
    [OF_STORAGES, pytest.param(GIVEN, marks=pytest.mark.exhaustive)],
    ids=["of storages", "all"],
)
def test_the_client_does_what_the_vectors_say_in_a_browser(
    chromium: Browser, site: Site, given: list[dict[str, Any]]
) -> None:
    page = open_tab(chromium, site.url)
    parts = ("steps", "requests", "outbox")
    assert page.evaluate(_IN_PAGE, given) == [{part: one[part] for part in parts} for one in given]
    page.close()


def test_a_page_that_closes_sends_its_last_answers(chromium: Browser, site: Site) -> None:
    """The flush has measured the clock, so the times of the last answer are final at once."""
    page = open_tab(chromium, site.url)
    page.evaluate("review('first').then(() => progress.flush()).then(() => review('last'))")
    page.goto("about:blank")
    readiness.wait(lambda: len(site.posted) > 1, "the last answers")
    page.close()
    assert site.posted == [["first"], ["last"]]


def test_two_tabs_flush_one_after_the_other(chromium: Browser, site: Site) -> None:
    """Without the lock, both would send the event."""
    with chromium.new_context() as context:
        tabs = [open_tab(context, site.url), open_tab(context, site.url)]
        tabs[0].evaluate("review('once')")
        for tab in tabs:
            tab.evaluate("() => { window.flushed = progress.flush(); }")
        assert sum(tab.evaluate("flushed.then(({ accepted }) => accepted)") for tab in tabs) == 1
    assert site.posted == [["once"]]


def test_events_outlive_a_database_that_chromium_deletes(chromium: Browser, site: Site) -> None:
    """Chromium deletes a damaged database at the next start. What was removed does not return."""
    launch = chromium.browser_type.launch_persistent_context
    with folders.create("profile") as profile:
        for before, then, damaged in _RUNS:
            with launch(profile, executable_path=browser.PROGRAM, args=browser.OPTIONS) as context:
                context.add_init_script(before)
                open_tab(context, site.url).evaluate(then)
            for manifest in (profile / "Default" / damaged).rglob("MANIFEST-*"):
                manifest.write_bytes(b"damaged")
    assert site.posted == [["sent"], ["earlier", "later"]]


@pytest.mark.exhaustive
def test_the_code_of_the_readme_compiles_with_the_types_of_ts_fsrs(client_app: Path) -> None:
    """`CODE` integrates the scheduler in 8 lines."""
    blocks = re.findall(r"(?ms)^```ts\n(.*?)^```", README)
    (integration,) = (block for block in blocks if "ts-fsrs" in block)
    assert len(integration.strip().splitlines()) <= 8
    for number, block in enumerate(blocks):
        given = _HIDING if "AppState" in block else _SURROUNDINGS
        (client_app / f"block{number}.ts").write_text(given + block, encoding="utf-8")
    (client_app / "native.d.ts").write_text(_ASYNC_STORAGE, encoding="utf-8")
    packages = client_app / "node_modules"
    for name in ("ts-fsrs", "typescript", "@types", "undici-types"):
        if not (packages / name).exists():
            (packages / name).symlink_to(CLIENT / "node_modules" / name)
    options = ["--module", "nodenext", "--target", "es2022", "--types", "node", "--strict"]
    files = ["native.d.ts", *(f"block{number}.ts" for number in range(len(blocks)))]
    tsc = "node_modules/typescript/bin/tsc"
    node.run(client_app, "node", tsc, *options, "--noEmit", "--skipLibCheck", *files)


@pytest.mark.parametrize(("entry", "most"), [("index", 6_656), ("reminder", 1_536)])
def test_each_build_has_few_bytes_and_no_dependencies(
    client_app: Path, entry: str, most: int
) -> None:
    package = client_app / "node_modules" / "learner-progress"
    described = json.loads((package / "package.json").read_text(encoding="utf-8"))
    assert "dependencies" not in described
    assert {file.name for file in package.iterdir()} == {
        *("LICENSE", "README.md", "dist", "package.json", "reminder", "skill.md")
    }
    esbuild = str(CLIENT / "node_modules" / "esbuild" / "bin" / "esbuild")
    for build, form in ((f"dist/{entry}.js", "esm"), (f"dist/cjs/{entry}.js", "cjs")):
        options = ["--bundle", "--minify", f"--format={form}"]
        bundle = node.run(client_app, esbuild, *options, str(package / build))
        assert len(gzip.compress(bundle.encode(), 9)) <= most


def test_commonjs_and_a_server_that_renders_a_page_can_load_the_client(client_app: Path) -> None:
    """A value that a storage cannot read loads as an error. A client has a learner."""
    (client_app / "load.cjs").write_text(_LOAD, encoding="utf-8")
    loaded = node.run(client_app, "node", "load.cjs").splitlines()
    text = "TypeError: learner: expected a text of 1 to 200 characters - found "
    unnamed = [text + found for found in ('""', "null", "undefined")]
    assert sorted(loaded) == [
        *(*unnamed, "function", "function", "object function", "rejects", "true", "true")
    ]


@pytest.mark.parametrize("last", [300, pytest.param(3_000, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(("module", "what"), [("schedules", "taken"), ("order", "moved")])
def test_no_drawn_run_has_a_fault(client_app: Path, module: str, what: str, last: int) -> None:
    """No fault loses an event or sends it for somebody else, and events keep their order.

    Early clocks, kills and sleep change no order; two tabs with right clocks move nothing.
    """
    printed = json.loads(node.run(client_app, "node", f"{module}.mjs", "1", f"{last}"))
    assert printed["found"] == {}
    assert printed["seen"][what] > 5 * last
