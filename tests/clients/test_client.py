"""The package learner-progress does what clients/vectors.json says, over each of its storages."""

import gzip
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from progress.serve import readiness
from tests.support import browser, folders, http_servers, node
from tests.support.learner_client import CLIENT, VECTORS

GIVEN: list[dict[str, Any]] = json.loads(VECTORS.read_text(encoding="utf-8"))["vectors"]
EXPECTED = {
    vector["name"]: {part: vector[part] for part in ("steps", "requests", "outbox")}
    for vector in GIVEN
}
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
delete globalThis.navigator; // as in Node 20
const storage = client.indexedDBStorage("answers");
storage.load().then(() => console.log("loads"), () => console.log("rejects"));
const id = "00000000-0000-4000-8000-000000000001";
require("node:fs").mkdirSync(`outbox/${id}.json`, { recursive: true });
const getAllKeys = async () => [`learner-progress:${id}`];
const store = { getAllKeys, getItem: () => Promise.reject(new Error("busy")) };
for (const unread of [client.fileStorage("outbox"), client.asyncStorage(store)])
  unread.load().then(([text]) => console.log(text instanceof Error));
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


@pytest.fixture(scope="module")
def handler(client_app: Path) -> type[http_servers.Handler]:
    places = (client_app / "node_modules/learner-progress/dist", client_app)
    found = {f"/{file.name}": file for place in places for file in place.glob("*.*js")}

    class Handler(http_servers.Handler):
        posted: list[Any] = []  # noqa: RUF012 - the class is this fixture's
        answers_after_s = 0.0

        def do_GET(self) -> None:  # noqa: N802 - the name in http.server
            if self.path in found:
                body, kind = found[self.path].read_bytes(), "text/javascript"
            elif self.path == "/health":
                body, kind = b'{"now": "2026-11-27T09:00:00.000Z"}', "application/json"
            else:
                body, kind = b"<!doctype html>", "text/html"
            self.respond(200, body, cut=None, **{"Content-Type": kind})

        def do_POST(self) -> None:  # noqa: N802 - the name in http.server
            events = json.loads(self.read_body())
            self.posted.append([event["data"]["item_id"] for event in events])
            answer = {"accepted": len(events), "refused": []}
            time.sleep(self.answers_after_s)
            self.respond(202, json.dumps(answer).encode())

    return Handler


@pytest.mark.parametrize(
    "given",
    [OF_STORAGES, pytest.param(GIVEN, marks=pytest.mark.exhaustive)],
    ids=["of storages", "all"],
)
def test_the_client_does_what_the_vectors_say_in_a_browser(
    chromium: Browser, handler: type[http_servers.Handler], given: list[dict[str, Any]]
) -> None:
    with http_servers.serve(handler) as url:
        page = chromium.new_page()
        page.goto(url)
        assert page.evaluate(_IN_PAGE, given) == [EXPECTED[each["name"]] for each in given]
        page.close()


def test_a_page_that_closes_sends_its_last_answers(
    chromium: Browser, handler: type[http_servers.Handler]
) -> None:
    """The flush has measured the clock, so the times of the last answer are final at once."""
    with http_servers.serve(handler) as url:
        page = chromium.new_page()
        page.goto(url)
        page.evaluate(_OPEN, url)
        page.evaluate("review('first').then(() => progress.flush()).then(() => review('last'))")
        page.goto("about:blank")
        readiness.wait(lambda: len(handler.posted) > 1, "the last answers")  # type: ignore[attr-defined]
        page.close()
    assert handler.posted == [["first"], ["last"]]  # type: ignore[attr-defined]


def test_two_tabs_flush_one_after_the_other(
    chromium: Browser, handler: type[http_servers.Handler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the lock, both would send the event."""
    monkeypatch.setattr(handler, "posted", [])
    monkeypatch.setattr(handler, "answers_after_s", 0.5)
    with http_servers.serve(handler) as url, chromium.new_context() as context:
        tabs = [context.new_page(), context.new_page()]
        for tab in tabs:
            tab.goto(url)
            tab.evaluate(_OPEN, url)
        tabs[0].evaluate("review('once')")
        for tab in tabs:
            tab.evaluate("() => { window.flushed = progress.flush(); }")
        assert sum(tab.evaluate("flushed.then(({ accepted }) => accepted)") for tab in tabs) == 1
    assert handler.posted == [["once"]]  # type: ignore[attr-defined]


def test_events_outlive_a_database_that_chromium_deletes(
    chromium: Browser, handler: type[http_servers.Handler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chromium deletes a damaged database at the next start. What was removed does not return."""
    monkeypatch.setattr(handler, "posted", [])
    launch = chromium.browser_type.launch_persistent_context
    with http_servers.serve(handler) as url, folders.create("profile") as profile:
        for before, then, damaged in _RUNS:
            with launch(profile, executable_path=browser.PROGRAM, args=browser.OPTIONS) as context:
                (page,) = context.pages
                page.goto(url)
                page.evaluate(before)
                page.evaluate(_OPEN, url)
                page.evaluate(then)
            for manifest in (profile / "Default" / damaged).rglob("MANIFEST-*"):
                manifest.write_bytes(b"damaged")
    assert handler.posted == [["sent"], ["earlier", "later"]]  # type: ignore[attr-defined]


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


def test_each_build_has_at_most_6_5_kb_and_no_dependencies(client_app: Path) -> None:
    package = client_app / "node_modules" / "learner-progress"
    described = json.loads((package / "package.json").read_text(encoding="utf-8"))
    assert "dependencies" not in described
    assert {file.name for file in package.iterdir()} == {
        *("LICENSE", "README.md", "dist", "package.json", "skill.md")
    }
    esbuild = str(CLIENT / "node_modules" / "esbuild" / "bin" / "esbuild")
    for build, form in (("dist/index.js", "esm"), ("dist/cjs/index.js", "cjs")):
        options = ["--bundle", "--minify", f"--format={form}"]
        bundle = node.run(client_app, esbuild, *options, str(package / build))
        assert len(gzip.compress(bundle.encode(), 9)) < 6_656


def test_commonjs_and_a_server_that_renders_a_page_can_load_the_client(client_app: Path) -> None:
    """A value that a storage cannot read loads as an error."""
    (client_app / "load.cjs").write_text(_LOAD, encoding="utf-8")
    loaded = node.run(client_app, "node", "load.cjs").split()
    assert sorted(loaded) == ["function", "object", "rejects", "true", "true"]


@pytest.mark.parametrize("last", [300, pytest.param(1_000, marks=pytest.mark.exhaustive)])
def test_no_fault_loses_an_event_or_sends_it_for_somebody_else(client_app: Path, last: int) -> None:
    printed = json.loads(node.run(client_app, "node", "schedules.mjs", "1", f"{last}"))
    assert printed["found"] == {}
    assert printed["seen"]["taken"] > 5 * last


@pytest.mark.parametrize("last", [300, pytest.param(3_000, marks=pytest.mark.exhaustive)])
def test_events_of_ours_keep_the_order_in_which_they_happened(client_app: Path, last: int) -> None:
    """Early clocks, kills and sleep change no order; two tabs with right clocks move nothing."""
    printed = json.loads(node.run(client_app, "node", "order.mjs", "1", f"{last}"))
    assert printed["found"] == {}
    assert printed["seen"]["moved"] > 5 * last


@pytest.mark.parametrize("learner", ["", "null", "undefined"])
def test_a_client_without_a_learner_is_a_type_error(client_app: Path, learner: str) -> None:
    given = f"new Progress({{ url: 'http://a', learner: {learner or repr('')} }})"
    code = "import { Progress } from 'learner-progress';"
    code += f"try {{ {given} }} catch (e) {{ console.log(`${{e}}`) }}"
    printed = node.run(client_app, "node", "--input-type=module", "--eval", code)
    assert printed.startswith("TypeError: learner: expected a text")
