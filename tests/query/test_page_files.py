"""The page's files over HTTP, its texts in each language, and its modules in Node."""

import gzip
import itertools
import json
import math
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import graphql
import pytest
from starlette.responses import Response

from progress.adapters import terminal
from progress.projections import schema
from progress.query.graphql.schema import SCHEMA
from progress.query.http import static_page
from tests.conftest import skip_without
from tests.support import api

FILES = sorted(path.name for path in static_page.FOLDER.iterdir() if path.suffix != ".html")
GZIP = {"accept-encoding": "gzip, deflate, br"}
BUDGET = 75_000  # the most compressed bytes that a first visit may load


@pytest.fixture(scope="module")
def query_api(postgres: str) -> Iterator[api.Api]:
    urls = {
        "auth_sign_in_url": "https://login.company.com/?a=1&b=2",
        "app_url": "https://learn.example/?a=1&b=2",
    }
    with api.serve(postgres, **urls) as made:
        yield made


def version(query_api: api.Api) -> str:
    match = re.search(r'"page/(\w{16})/', text(query_api.request("GET", "/")))
    assert match
    return match[1]


def text(response: Response) -> str:
    return bytes(response.body).decode()


def test_the_index_is_revalidated_each_time(query_api: api.Api) -> None:
    first = query_api.request("GET", "/")
    assert first.status_code == 200
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    assert first.headers["cache-control"] == "no-cache"
    again = query_api.request("GET", "/", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.body) == (304, b"")
    assert query_api.request("GET", "/", headers={"if-none-match": 'W/"other"'}).status_code == 200


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_immutable_and_has_its_media_type(query_api: api.Api, name: str) -> None:
    plain = query_api.request("GET", f"/page/{version(query_api)}/{name}")
    source = (static_page.FOLDER / name).read_text(encoding="utf-8")
    lines = source.splitlines()
    if name.endswith(".js"):  # the lines of errors are those of the file
        starts = ("//", "/**", "*")
        lines = [line.lstrip(" ") for line in lines]
        lines = ["" if line.startswith(starts) else line for line in lines]
    elif name.endswith(".css"):
        parts = re.split(r"/\*|\*/", source)  # every second part is a comment
        lines = [line.strip(" ") for line in "".join(parts[::2]).splitlines()]
        lines = ["", *(line for line in lines if line)]
    elif name.endswith(".json"):
        lines = [json.dumps(json.loads(source), ensure_ascii=False, separators=(",", ":"))]
    served = [line.rstrip(" ") for line in text(plain).splitlines()]
    assert served == [line.rstrip(" ") for line in lines]
    assert "immutable" in plain.headers["cache-control"]
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    kinds[".json"] = "application/json"
    assert plain.headers["content-type"].startswith(kinds[Path(name).suffix])
    assert plain.headers["x-content-type-options"] == "nosniff"
    head = query_api.request("HEAD", f"/page/{version(query_api)}/{name}")
    assert (head.body, head.headers["content-length"]) == (b"", str(len(plain.body)))


def test_a_file_of_another_version_is_revalidated(query_api: api.Api) -> None:
    other = query_api.request("GET", "/page/0123456789abcdef/page.css")
    assert (other.status_code, other.headers["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize(
    "path",
    ["/page", "/page/", "/page/x", "/page/x/", "/page/x/index.html", "/page/x/../../settings.py",
     "/page/x/%2e%2e/settings.py", "/x/page/x/page.css", "/index.html", "/favicon.ico"],
)  # fmt: skip
def test_paths_that_are_not_files_of_the_page_are_not_found(query_api: api.Api, path: str) -> None:
    assert query_api.request("GET", path).status_code == 404


def test_a_post_to_the_page_is_not_found(query_api: api.Api) -> None:
    assert query_api.request("POST", "/").status_code == 404


def test_compressed_files_have_the_same_content_within_the_budget(query_api: api.Api) -> None:
    size = 0
    index = text(query_api.request("GET", "/"))
    for path in ["/", *(f"/page/{version(query_api)}/{name}" for name in FILES)]:
        plain, gzipped = (query_api.request("GET", path, headers=headers) for headers in ({}, GZIP))
        assert plain.headers["vary"] == gzipped.headers["vary"]
        assert "Accept-Encoding" in plain.headers["vary"]
        # At start, the page loads only the files that the index names. Each other module is loaded
        # when its view is opened.
        size += len(gzipped.body) if path == "/" or path[1:] in index else 0
        body = bytes(gzipped.body)
        if gzipped.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        assert body == plain.body
    assert size < BUDGET


def test_the_content_security_policy_forbids_code_from_other_origins(query_api: api.Api) -> None:
    headers = query_api.request("GET", "/").headers
    policy = dict(
        part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "connect")} == {"'self'"}
    assert {policy[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["permissions-policy"]


def test_every_module_that_the_page_needs_at_start_is_preloaded(query_api: api.Api) -> None:
    """Preloading lets the browser request all modules at the same time, not one after another."""
    index = text(query_api.request("GET", "/"))
    preloaded = set(re.findall(r'href="page/\w+/(\w+\.js)"', index)) | {"main.js"}
    imported, pending = set[str](), ["main.js"]
    while pending:
        imported.add(name := pending.pop())
        module = (static_page.FOLDER / name).read_text(encoding="utf-8")
        pending += (
            set(re.findall(r"^(?:import|export|\}) .*from '\./(.+)';$", module, re.MULTILINE))
            - imported
        )
    assert preloaded == imported


def test_the_index_contains_the_environment_and_the_sign_in_url(query_api: api.Api) -> None:
    index = text(query_api.request("GET", "/"))
    assert 'content="https://login.company.com/?a=1&amp;b=2"' in index
    assert '<meta name="environment" content="development">' in index


TEXTS = {
    language: json.loads((static_page.FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    for language in static_page.LANGUAGES
}
_KEY = re.compile(r"'([a-z]\w*(?:\.\w+)+)'|`([a-z]\w*(?:\.[\w.]*))\$\{")
_FORMS = {"one", "other"}


def leaves(node: Any, prefix: str = "") -> dict[str, list[str]]:
    """Return the texts by key; a key with plural forms has several texts."""
    if isinstance(node, str):
        return {prefix: [node]}
    if node.keys() <= _FORMS:
        return {prefix: list(node.values())}
    return {
        key: texts
        for name, child in node.items()
        for key, texts in leaves(child, f"{prefix}.{name}".lstrip(".")).items()
    }


def names(texts: list[str]) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", " ".join(texts)))


def test_each_text_exists_in_each_language_with_the_same_placeholders() -> None:
    english, japanese = leaves(TEXTS["en"]), leaves(TEXTS["ja"])
    assert english.keys() == japanese.keys()
    differing = [key for key in english if names(english[key]) != names(japanese[key])]
    assert differing == []
    assert [key for key, texts in (english | japanese).items() if not all(texts)] == ["gap"]


def test_the_scripts_use_each_text_and_only_existing_texts() -> None:
    scripts = [path.read_text(encoding="utf-8") for path in static_page.FOLDER.glob("*.js")]
    index = (static_page.FOLDER / "index.html").read_text(encoding="utf-8")
    keys, prefixes = set(re.findall(r"\{(\w+\.\w+)\}", index)) | {"separator", "gap"}, set[str]()
    for script in scripts:
        for key, prefix in _KEY.findall(script):
            keys |= {key} - {""}
            prefixes |= {prefix} - {""}
    known = leaves(TEXTS["en"]).keys()
    roots = tuple(f"{name}." for name in TEXTS["en"])
    used = {key for key in keys if key.startswith(roots) or "." not in key}
    assert used - known == set()
    assert {key for key in known - used if not key.startswith(tuple(prefixes))} == set()
    assert {
        prefix for prefix in prefixes if not any(key.startswith(prefix) for key in known)
    } == set()


def test_japanese_texts_have_no_english_words() -> None:
    words = {
        word
        for texts in leaves(TEXTS["ja"]).values()
        for text in texts
        for word in re.findall(r"[A-Za-z]{2,}", re.sub(r"\{\w+\}", "", text))
    }
    assert words <= {"Anki", "CEFR", "CSV", "ID", "JavaScript", "JSON", "Pub", "Sub", "ZIP", "KiB"}


@pytest.mark.parametrize(
    ("accepted", "cookie", "language"),
    [
        ("", "", "en-GB"), ("ja", "", "ja"), ("ja-JP,ja;q=0.9,en;q=0.8", "", "ja"),
        ("en-US,en;q=0.9,ja;q=0.8", "", "en-GB"), ("fr,ja;q=0.2,en;q=0.1", "", "ja"),
        ("en;q=0.1,ja;q=0.9", "", "ja"), ("fr", "", "en-GB"), ("ja;q=0", "", "en-GB"),
        ("ja;q=x,*", "", "en-GB"), ("ja", "a=b; language=en", "en-GB"),
        ("en", "language=ja", "ja"), ("ja", "language=../../x", "ja"),
    ],
)  # fmt: skip
def test_the_language_cookie_or_else_the_browser_selects_the_page_s_language(
    query_api: api.Api, accepted: str, cookie: str, language: str
) -> None:
    response = query_api.request(
        "GET", "/", headers={"accept-language": accepted, "cookie": cookie}
    )
    index = bytes(response.body).decode()
    assert f'<html lang="{language}">' in index
    (texts,) = re.findall(r'id="texts">(.*?)</script>', index, re.DOTALL)
    first, every = json.loads(texts), TEXTS[language[:2]]
    assert first == {key: every[key] for key in first}
    assert {"separator", "next", "sent"} <= first.keys()
    assert not {"letters", "command"} & first.keys()  # a view and a dialog load them
    assert 'content="https://learn.example/?a=1&amp;b=2"' in index
    assert "{" not in index.replace(texts, "")
    assert {"Accept-Language", "Cookie"} <= set(response.headers["vary"].split(", "))


Evaluate = Callable[..., Any]

# A replacement for the DOM: elements that only keep their attributes and children.
_DOCUMENT = """
import { readFileSync } from 'node:fs';
const [language] = process.argv.slice(-1);
class Element {
  constructor(name) { Object.assign(this, { name, attributes: {}, children: [] }); }
  setAttribute(name, value) { this.attributes[name] = value; }
  append(...children) { this.children.push(...children); }
  addEventListener() {}
  get textContent() { return this.children.map((child) => child.textContent ?? child).join(''); }
  get all() { return [this, ...this.children.flatMap((child) => child.all ?? [])]; }
  find(key) { return this.all.find(({ attributes }) => attributes['data-key'] === key); }
  tags(tag) { return this.all.filter(({ name }) => name === tag); }
}
const text = readFileSync(`page/${language.slice(0, 2)}.json`, 'utf8');
globalThis.document = {
  baseURI: 'http://localhost/', documentElement: { lang: language }, activeElement: null,
  getElementById: () => ({ textContent: text }), querySelector: () => ({ content: '' }),
  addEventListener() {}, createElement: (name) => new Element(name),
  createElementNS: (_, name) => new Element(name),
};
globalThis.addEventListener = globalThis.removeEventListener = () => {};
const now = Date.parse('2024-03-11T12:00:00Z'); // a Monday
Date.now = () => now;
const inHours = (hours) => new Date(now + hours * 3_600_000).toISOString();
const dayIn = (days) => inHours(24 * days).slice(0, 10);
const print = (value) => console.log(JSON.stringify(value));
const stages = (n) => ({ learning: n, shortTermMastered: 0, longTermMastered: 0, unlearned: 0 });
const studyDay = (date, more) => [date, { date, answers: 1, correctAnswers: 1, averageResponseMs: 1,
  studySeconds: 1, sessionsCompleted: 1, itemsLearned: 1, newMasteryCount: 1, ...more }];
const learner = (more) => ({
  day: dayIn(0), days: new Map(), restDays: new Set(), streak: {}, projections: [],
  levels: [], domains: [], languages: [], milestones: { edges: [] },
  progress: { masteryStats: stages(0) }, due: [{ date: dayIn(0), items: 0 }], ...more });
"""


# Runs a script for each line of the input, in a new thread: a new process takes twice as long.
_THREADS = """
import { createInterface } from 'node:readline';
import { Worker } from 'node:worker_threads';
for await (const line of createInterface(process.stdin)) {
  const [language, environment] = JSON.parse(line);
  process.env.TZ = environment.TZ ?? '';
  const env = { ...process.env, ...environment };
  const worker = new Worker('./script.js', { argv: [language], env, stdout: true });
  const told = { text: '' };
  worker.stdout.on('data', (part) => { told.text += part; });
  worker.on('error', (error) => { told.error = error.stack; });
  await new Promise((resolve) => worker.stdout.on('end', resolve));
  console.log(JSON.stringify(told));
}
"""


@pytest.fixture(scope="module")
def evaluate(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Evaluate]:
    if not shutil.which("node"):
        skip_without(request, "node")
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(static_page.FOLDER, folder / "page")
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (folder / "threads.js").write_text(_THREADS, encoding="utf-8")
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}

    def run(script: str, language: str = "en-GB", **environment: str) -> Any:
        (folder / "script.js").write_text(_DOCUMENT + script, encoding="utf-8")
        assert node.stdout
        print(json.dumps([language, environment]), file=node.stdin, flush=True)
        told = json.loads(node.stdout.readline())
        assert "error" not in told, told["error"]
        return json.loads(told["text"])

    with subprocess.Popen(["node", "threads.js"], cwd=folder, **pipes) as node:
        yield run


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_page_names_only_projections_that_exist(language: str) -> None:
    """A projection without a name is shown by the words of its model's name."""
    shown = {model.name for model in (*schema.REALTIME, *schema.BATCH) if model.field}
    assert TEXTS[language]["lag"]["names"].keys() <= shown | {"events out"}


@pytest.mark.parametrize("language", ["en", "ja"])
def test_no_text_says_words_where_items_are_cards(evaluate: Evaluate, language: str) -> None:
    """An English text has no singular that `cards` leaves, and a Japanese one no unit of words."""
    script = """
        const { countCards, speakOf, t } = await import('./page/i18n.js');
        const say = () => JSON.parse(process.env.KEYS).map((key) => t(key, { count: 7, words: 7 }));
        const words = say().join();
        speakOf('ann');
        const changes = [countCards('ann', true), say(), countCards('ann', true)];
        speakOf(null); // the tabs of whoever looks at the page of Ann
        print([...changes, countCards(null, false), say().join() === words]);
        """
    said = evaluate(script, language, KEYS=json.dumps([*leaves(TEXTS[language])]))
    cards = said.pop(1)
    assert said == [True, False, False, True]
    assert [text for text in cards if re.search(r"\b[Ww]ords?\b|単語|7語", text)] == []


@pytest.mark.parametrize(
    ("language", "days", "newest"),
    [
        ("en-GB", ["in 1 day", "1 day ago"], "The newest event was recorded 1 second ago."),
        ("ja", ["1日後", "1日前"], "最新の記録は1秒前に届きました。"),
    ],
)
def test_a_relative_time_never_names_the_wrong_day_and_is_at_least_a_second(
    evaluate: Evaluate, language: str, days: list[str], newest: str
) -> None:
    script = """
        const { ago, distance } = await import('./page/format.js');
        const { t } = await import('./page/i18n.js');
        const newest = (hours) => t('fresh.newest', { time: ago(inHours(hours)) });
        print([distance(inHours(47)), distance(inHours(-47)), newest(0), newest(0.01)]);
        """
    assert evaluate(script, language) == [*days, newest, newest]


@pytest.mark.parametrize(
    ("language", "ranges"),
    [
        ("en-GB", ["30 October – 22 November 2026", "5 March 2026"]),
        ("ja", ["2026年10月30日～11月22日", "2026年3月5日"]),
    ],
)
def test_a_range_of_days_is_written_like_its_days(
    evaluate: Evaluate, language: str, ranges: list[str]
) -> None:
    script = """
        const { days } = await import('./page/format.js');
        print([days('2026-10-30', '2026-11-22'), days('2026-03-05', '2026-03-05')]);
        """
    found = evaluate(script, language)
    assert [" ".join(text.split()) for text in found] == ranges


def test_a_shown_change_is_the_difference_of_the_shown_values(evaluate: Evaluate) -> None:
    script = """
        const { improving } = await import('./page/improving.js');
        const row = (date, answers, correctAnswers, averageResponseMs, studySeconds) =>
          studyDay(date, { answers, correctAnswers, averageResponseMs, studySeconds });
        const days = new Map([
          row(dayIn(-35), 1000, 754, 4040, 1000), row(dayIn(0), 500, 398, 4160, 14_400)]);
        const body = improving({ days, day: dayIn(0) }).find('comparison').children[1].children[1];
        print(body.children.map(({ children }) => [
          ...children.map((cell) => cell.textContent), children[3].children[0].attributes?.class]));
        """
    rows = evaluate(script)
    assert rows[:4] == [
        ["Answers", "500", "1,000", "−500", None],  # not marked as worse: today is not over
        ["Answered right", "80%", "75%", "+5 points", "up"],
        ["Seconds per answer", "4.2", "4.0", "+0.2", None],  # slow answers may be careful ones
        ["Study time", "4h 0m", "16m", "+3h 44m", None],  # perhaps a session that was left open
    ]


def test_a_sum_of_days_counts_study_days_and_averages_timed_answers(evaluate: Evaluate) -> None:
    script = """
        const { byDate } = await import('./page/query.js');
        const { pace, sum } = await import('./page/periods.js');
        const { decimal } = await import('./page/format.js');
        const row = (n, answers, averageResponseMs, more) => ({
          date: dayIn(n), answers, averageResponseMs, correctAnswers: answers, studySeconds: 0,
          sessionsCompleted: 0, ...more });
        const days = new Map(byDate([
          row(-4, 60, 2_000), row(-3, 1, 60_000), row(-2, 5, null, { studySeconds: 100_800 }),
          row(-1, 0, null), row(0, 0, null, { sessionsCompleted: 1 })]));
        const total = (from) => sum(days, dayIn(from), dayIn(0));
        print([total(-4).activeDays, total(-4).studySeconds, decimal(pace(total(-4))),
          decimal(pace(total(-2)))]);
        """
    assert evaluate(script) == [4, 24 * 3600, "3.0", "–"]  # (60 × 2 s + 60 s) ÷ 61


def test_charts_have_the_periods_of_their_range_since_the_first_answer(evaluate: Evaluate) -> None:
    """Up to seven counts stand above their columns; more columns have ticks.

    More than two years of weeks are shown as months.
    """
    script = """
        const { improving } = await import('./page/improving.js');
        const show = ([range, first]) => {
          const days = new Map([first, 0].map((n) => studyDay(dayIn(n))));
          const section = improving({ days, day: dayIn(0) }, { range });
          const [mastered, weeks] = ['mastered', 'weeks'].map((key) => section.find(key));
          const found = [mastered.tags('li'), mastered.tags('g'), weeks.tags('g')];
          return [...found.map(({ length }) => length),
            Math.round(parseFloat(weeks.tags('rect')[0].attributes.width))];
        };
        print([['month', -2920], ['quarter', -2920], ['year', -2920], ['all', -2920],
          ['year', -70]].map(show));
        """
    found = evaluate(script)
    # The columns above names, those above ticks, those of weeks, and their width in percent.
    assert found[:3] == [[2, 0, 5, 8], [4, 0, 13, 8], [0, 12, 53, 2]]
    assert found[3:] == [[0, 9, 97, 1], [3, 0, 11, 8]]


def test_states_end_with_the_progress_and_a_long_course_has_months(evaluate: Evaluate) -> None:
    script = """
        const { states } = await import('./page/states.js');
        const counts = { learning: 2, shortTermMastered: 3, longTermMastered: 4 };
        const weeks = (count) => Array.from({ length: count }, (_, n) => ({
          start: dayIn(7 * (n - count + 1)), end: dayIn(7 * (n - count + 1) + 6), ...counts }));
        const progress = { masteryStats: { ...counts, learning: 9, unlearned: 5 } };
        const show = (count) => states(weeks(count), { progress, day: dayIn(0) });
        print([...[53, 626].map((count) => show(count)[1].tags('g').length),
          show(2)[0].textContent]);
        """
    short, long, told = evaluate(script)
    assert (short, long) == (53, 145)  # twelve years are months
    assert told == "Now 9 learning, 3 known, 4 lasting; 5 new."


@pytest.mark.parametrize(
    ("forgotten", "said"),
    [
        ([0, 4, 40], "expected to be known"),
        ([2, 9, 5], "The line is what was answered once"),
        ([5, 5, 5.4], "About 5 answered words are expected to be forgotten, now as before."),
    ],
)
def test_lines_that_nearly_coincide_become_their_gap_and_a_flat_gap_a_sentence(
    evaluate: Evaluate, forgotten: list[float], said: str
) -> None:
    script = """
        const { Knowledge } = await import('./page/knowledge.js');
        const forgotten = JSON.parse(process.env.FORGOTTEN);
        const curve = forgotten.map((some, n) => ({
          start: dayIn(7 * n), end: dayIn(7 * n + 6), items: 100, expected: 100 - some }));
        const view = Object.create(Knowledge.prototype);
        Object.assign(view, { day: null, data: { at: now,
          knowledge: { on: dayIn(0), items: 100, expected: 90, fading: 0, levels: [] }, curve,
          fading: { totalCount: 0, edges: [] }, calibration: null, languages: [],
          distribution: ['RECALL', 'INTERVAL_DAYS'].map((measure) =>
            ({ measure, atLeast: 0, items: 1 })), today: [{ date: dayIn(0) }] } });
        const page = new Element('main');
        page.append(...view.sections());
        const card = page.find('curve');
        print(card.all.map(({ attributes, textContent }) =>
          `${attributes['aria-label']} ${textContent}`).join(' '));
        """
    text = evaluate(script, FORGOTTEN=json.dumps(forgotten))
    assert said in text
    assert ("as a table" in text) == (forgotten[0] != forgotten[1])


def test_the_first_answer_s_day_comes_from_a_complete_history(evaluate: Evaluate) -> None:
    script = """
        const { firstAnswer } = await import('./page/item_page.js');
        Date.now = () => Date.parse('2026-03-11T01:00:00Z');
        const days = [{ date: '2024-03-05', answers: 1 }, { date: '2024-03-02', answers: 2 }];
        const first = (answers) =>
          firstAnswer({ answers, firstAnsweredAt: '2024-03-01T23:30:00Z' }, { days });
        print([first(3), first(4)]);
        """
    for zone in ("America/New_York", "Asia/Tokyo"):
        assert evaluate(script, TZ=zone) == ["2 March 2024", "2 years ago"]


def test_a_timeline_begins_with_the_first_event_and_has_steps_of_days(evaluate: Evaluate) -> None:
    script = """
        const { timeline } = await import('./page/item_page.js');
        const answersSince = (oldest) => Array.from({ length: oldest + 1 }, (_, index) =>
          ({ date: dayIn(-index), answers: 2, correctAnswers: 1 }));
        print([0, 59, 700].map((oldest) => timeline(
          [{ at: inHours(-1), intervalDays: 4 }], answersSince(oldest), dayIn(0))));
        """
    # In New York, the short history contains a day of 23 hours (10 March 2024).
    for zone in ("America/New_York", "Asia/Tokyo"):
        new, short, long = evaluate(script, TZ=zone)
        assert [step["right"] for step in new] == [1]
        assert {step["right"] for step in short} == {1}
        assert [new[-1]["day"], short[0]["day"], long[0]["day"]] == [
            "2024-03-11", "2024-01-12", "2022-04-11"
        ]  # fmt: skip
        assert len({step["day"] for step in short}) == 60
        assert sum(step["right"] + step["wrong"] for step in long) == 2 * 701
        assert [steps[-1]["intervalDays"] for steps in (new, short, long)] == [4, 4, 4]


def test_a_scale_ends_at_an_even_number_slightly_above_the_counts(evaluate: Evaluate) -> None:
    script = """
        const { roundUp } = await import('./page/charts.js');
        print(Array.from({ length: 3000 }, (_, most) => roundUp(most)));
        """
    tops = evaluate(script)
    assert tops[:8] == [2, 2, 2, 4, 4, 6, 6, 8]
    for most, top in enumerate(tops[1:], start=1):
        assert top % 2 == 0
        assert most <= top <= max(1.5 * most, 2)


def test_the_next_due_day_is_a_weekday_only_up_to_six_days_ahead(evaluate: Evaluate) -> None:
    script = """
        const { today } = await import('./page/today.js');
        const tiles = ([next, shortTermMastered, longTermMastered]) => today(learner({
          progress: { masteryStats: { ...stages(0), shortTermMastered, longTermMastered } },
          due: Array.from({ length: 29 }, (_, n) =>
            ({ date: dayIn(n), items: n === next ? 3 : 0 })),
        }));
        const cases = [[6, 0, 0], [7, 0, 0], [30, 1, 0], [30, 0, 1], [30, 0, 0]];
        print(cases.map((case_) => tiles(case_).textContent));
        """
    tiles = evaluate(script)
    expected = ["3 words on Sunday", "3 words on 18 Mar", *["falls due in the next 28 days"] * 2]
    assert [end in tile for tile, end in zip(tiles, expected, strict=False)] == [True] * 4
    assert not re.search("Next|falls due", tiles[4])


def test_events_that_are_being_counted_are_mentioned_in_a_pill(evaluate: Evaluate) -> None:
    script = """
        const { today } = await import('./page/today.js');
        const tiles = (secondsBehind) => today(learner({
          projections: [{ name: 'daily_stats', eventsBehind: 3, secondsBehind }],
        })).children.map(({ textContent }) => textContent);
        print([tiles(9), tiles(1)]);
        """
    tiles = evaluate(script)
    text = "3 recorded events are still being counted."
    assert [[text in tile for tile in each] for each in tiles] == [
        [False] * 5 + [True],
        [False] * 6,
    ]


_SCREEN = """
    const { learnToday } = await import('./page/past_day.js');
    const { today } = await import('./page/today.js');
    document.querySelector = () => ({ content: 'https://app.example' });
    const end = '2024-03-12T04:00:00Z';
    globalThis.fetch = async () => new Response(JSON.stringify({
      data: { today: [{ date: dayIn(0) }], d1: { date: dayIn(0), end } } }));
    await learnToday(null);
    const row = (answers, studySeconds, newMasteryCount = 0) => ({
      answers, studySeconds, newMasteryCount, correctAnswers: answers, sessionsCompleted: 0 });
    const screen = ({
      due = 0, ahead = 0, fading = 0, fresh = 0, pace = 20, goal = null, answers = 0, seconds = 0,
      current = 3, hours = 12, rests = false, longest = 0,
      run = [], mastered = 0, slipped = 0, usual = 900, day = dayIn(0), task = null,
    }) => {
      const [until, known] = task ?? [];
      Date.now = () => Date.parse(end) - 3_600_000 * hours;
      const before = run.map((ago) => [dayIn(-ago), row(1, usual)]);
      const section = today(learner({
        day, isOwn: true, knowledge: { items: 9, fading }, workload: { secondsPerAnswer: pace },
        days: new Map([...before, ...mastered ? [['2024-03-11', row(9, usual, mastered)]] : [],
          ...answers ? [[day, row(answers, seconds, mastered)]] : []]),
        due: Array.from({ length: 29 }, (_, n) => ({ date: dayIn(n), items: n ? ahead : due })),
        tasks: { edges: !task ? [] : [{ node: {
          listId: 'u7', listName: 'Unit 7', items: 40, known, knownNow: known,
          done: known === null ? null : known === 40, dueOn: dayIn(until) } }] },
        week: [{ slippedBack: slipped }], slipped: { totalCount: slipped },
        goal: goal && {
          answersPerDay: goal, answersToday: answers, daysMet7: 2, week: Array(7).fill(false) },
        streak: {
          current: current || Number(answers > 0), activeToday: answers > 0,
          atRisk: !answers && current > 0 && !rests, restToday: rests,
          lastStudyDate: dayIn(-2), ...longest && { longest, longestEnd: dayIn(-2) } },
        progress: { masteryStats: { ...stages(9), unlearned: fresh }, totalItemsLearned: 412 } }));
      const [card, streak] =
        section.children.filter(({ attributes }) => attributes.class?.includes('tile'));
      const news = section.find('news');
      return [news.textContent,
        card.children.slice(1).map(({ textContent }) => textContent).filter(Boolean).join(', '),
        [card, section.find('app')].map(({ attributes }) => attributes.class), streak.textContent,
        news.tags('a').map(({ attributes }) => attributes.href.split('?')[1])];
    };
"""
_FULL, _RESTS = ["card tile next", "button"], ["card tile next rests", "button quiet"]
_MANY = "Repeat the first 45 of 225 due words in 15 minutes."
_FEW = "3 due today, about 1 minute, Start now"
_LEARNED, _OF_TASK = "Unit 7: 31 of 40 learned, until", "9 left of the task, Open the app"
_LAST_DAY = f"{_LEARNED} the end of today."
_ENOUGH = "45 wait until tomorrow, Enough for today, Open the app"
# The learner, the sentences, the card "What next", and the classes of the card and its button.
TASKS: list[tuple[dict[str, Any], list[str], str, list[str]]] = [
    ({"current": 0}, ["Nothing is due or fading."], "0 due today, All caught up, Open the app",
     _RESTS),
    ({}, ["One answer makes it 4 days in a row."], "1 answer for the streak, Open the app", _FULL),
    ({"due": 45, "rests": True}, ["45 wait until tomorrow."], _ENOUGH, _RESTS),
    ({"due": 52, "fading": 6, "pace": 7}, ["Repeat 52 due words (7 minutes)."],
     "52 due today, about 7 minutes, Start now", _FULL),
    ({"due": 1, "pace": None}, ["Repeat 1 due word."], "1 due today, Start now", _FULL),
    ({"fading": 1, "fresh": 9}, ["1 word is fading: repeat it (1 minute)."],
     "1 fading, about 1 minute, Start now", _FULL),
    ({"fading": 46}, ["46 words are fading: save the 45 weakest in 15 minutes."],
     "46 fading, The 45 weakest in 15 minutes, Start now", _FULL),
    ({"fresh": 9}, ["Nothing is due or fading: learn new words for 15 minutes."],
     "15 minutes of new words, Open the app", _FULL),
    ({"goal": 200}, ["Nothing is due or fading: 200 answers to the goal."],
     "200 answers to the goal, Open the app", _FULL),
    ({"due": 225, "ahead": 60}, [_MANY],
     "225 due today, At 15 minutes a day, this takes more than four weeks, Start now", _FULL),
    # Thirty minutes are enough for 60 items, twenty for 40.
    ({"due": 60, "ahead": 5, "pace": 30, "run": [3], "usual": 1800},
     ["Repeat 60 due words (30 minutes)."], "60 due today, about 30 minutes, Start now", _FULL),
    ({"due": 100, "ahead": 5, "pace": 30, "run": [3], "usual": 1800},
     ["Repeat the first 60 of 100 due words in 30 minutes."],
     "100 due today, Done in 2 days at 30 minutes a day, Start now", _FULL),
    ({"due": 500, "ahead": 30, "pace": 30, "run": [3], "usual": 1200},
     ["Repeat the first 40 of 500 due words in 20 minutes."],
     "500 due today, At 20 minutes a day, this takes more than four weeks, Start now", _FULL),
    ({"due": 225, "answers": 9, "goal": 20},
     ["Today: 9 answers.", "3 days in a row.", "11 answers to the goal.", _MANY],
     "225 due today, Done in 5 days at 15 minutes a day, Start now", _FULL),
    ({"due": 9, "answers": 12, "goal": 200, "mastered": 2, "slipped": 1},
     ["Today: 2 newly mastered, 1 slipped back.", "3 days in a row.", "188 answers to the goal.",
      "9 are still due (3 minutes)."], "9 due today, about 3 minutes, Start now", _FULL),
    ({"due": 45, "answers": 20, "goal": 20, "current": 25},
     ["Today: 20 answers.", "25 days in a row.", "Goal met.", "45 wait until tomorrow."],
     _ENOUGH, _RESTS),
    ({"due": 45, "answers": 20, "seconds": 901, "current": 1},
     ["Today: 20 answers.", "A streak of 1 day.", "45 wait until tomorrow."], _ENOUGH, _RESTS),
    ({"answers": 1, "ahead": 3},
     ["Today: 1 answer.", "3 days in a row.", "Nothing more is due."],
     "0 due today, All caught up, Next: 3 words on Tuesday, Open the app", _RESTS),
    ({"due": 3, "hours": 2.9}, ["Repeat 3 due words (1 minute).",
     "2 hours left today: one answer makes it 4 days in a row."], _FEW, _FULL),
    ({"due": 3, "hours": 0.999}, ["Repeat 3 due words (1 minute).",
     "59 minutes left today: one answer makes it 4 days in a row."], _FEW, _FULL),
    ({"due": 3, "hours": 0.004}, ["Repeat 3 due words (1 minute).",
     "Less than a minute left today: one answer makes it 4 days in a row."], _FEW, _FULL),
    ({"due": 3, "current": 0, "run": [2, 3, 4]},
     ["Your streak has ended after 3 days in a row.",
      "It all stays: 3 study days, 412 words learned.", "Repeat 3 due words (1 minute)."],
     _FEW, _FULL),
    # The page has not loaded all of its days.
    ({"due": 3, "current": 0, "run": [2, 3, 4], "longest": 420},
     ["Your streak has ended after 420 days in a row.",
      "It all stays: 420 study days, 412 words learned.", "Repeat 3 due words (1 minute)."],
     _FEW, _FULL),
    # It was said yesterday.
    ({"due": 3, "current": 0, "run": [3, 4]}, ["Repeat 3 due words (1 minute)."], _FEW, _FULL),
    # A task that ends today comes after what is due, and before what can wait.
    ({"due": 3, "task": [0, 31]}, ["Repeat 3 due words (1 minute).", _LAST_DAY], _FEW, _FULL),
    ({"fading": 1, "task": [0, 31]}, [_LAST_DAY], _OF_TASK, _FULL),
    ({"due": 45, "rests": True, "task": [0, 31]}, [_LAST_DAY], _OF_TASK, _FULL),
    ({"due": 45, "answers": 20, "goal": 20, "task": [0, 31]},
     ["Today: 20 answers.", "3 days in a row.", "Goal met.", _LAST_DAY], _OF_TASK, _FULL),
    # Another one comes before the goal and new words.
    ({"due": 45, "rests": True, "task": [1, 31]},
     ["45 wait until tomorrow.", f"{_LEARNED} Tuesday."], _ENOUGH, _RESTS),
    ({"fading": 1, "task": [6, 31]},
     ["1 word is fading: repeat it (1 minute).", f"{_LEARNED} Sunday."],
     "1 fading, about 1 minute, Start now", _FULL),
    ({"goal": 200, "fresh": 9, "task": [7, 31]}, [f"{_LEARNED} 18 Mar."], _OF_TASK, _FULL),
    # It is done, has too many words or has ended.
    ({"task": [400, 40]}, ["Unit 7: 40 of 40 learned, until 15 April 2025.",
     "One answer makes it 4 days in a row."], "1 answer for the streak, Open the app", _FULL),
    ({"task": [4, None]}, ["Unit 7: 40 words, until Friday.",
     "One answer makes it 4 days in a row."], "1 answer for the streak, Open the app", _FULL),
    ({"current": 0, "task": [-1, 31]}, ["Nothing is due or fading."],
     "0 due today, All caught up, Open the app", _RESTS),
]  # fmt: skip


def test_the_sentence_and_the_card_have_one_task_in_each_case(evaluate: Evaluate) -> None:
    script = f"""{_SCREEN}
        print(JSON.parse(process.env.CASES).map((given) => screen(given).slice(0, 3)));
        """
    assert evaluate(script, CASES=json.dumps([given for given, *_ in TASKS])) == [
        [" ".join(said), *card] for _, said, *card in TASKS
    ]


def test_each_number_of_the_news_leads_to_its_words(evaluate: Evaluate) -> None:
    script = f"""{_SCREEN}
        const given = {{ due: 9, mastered: 14, slipped: 3, day: '2024-03-14' }};
        const cases = [given, {{ ...given, answers: 9 }}, {{ fading: 2 }}];
        print([screen(given)[0], ...cases.map((one) => screen(one)[4])]);
        """
    week, *links = evaluate(script)
    assert (
        week == "Since Monday: 14 newly mastered, 3 slipped back. Repeat 9 due words (3 minutes)."
    )
    since, today = ("&from=2024-03-11&to=2024-03-14", "&from=2024-03-14&to=2024-03-14")
    happened = ["filter=newly_mastered", "filter=slipped_back"]
    days = [[f"{each}{days}" for each in happened] for days in (since, today)]
    assert links == [[*days[0], "filter=due"], [*days[1], "filter=due"], ["filter=fading"]]


# What a card may name, and what the sentence says exactly then.
_NAMED = {
    "en-GB": {
        r"[1-9][\d,]* due today": "due word|still due", r"\d fading": r"fading: (?!learn|\d)",
        "of new words": "learn new words", "until tomorrow": "until tomorrow",
        "to the goal": r"fading: \d", r"\b0 due today": r"fading\.|more is due",
        "for the streak": "^(?!.*(?:due|fading|new words|31 of)).*ne answer makes it",
        "of the task": "^(?!.*(?:due|fading|new words|wait)).*31 of 40 learned",
    },
    "ja": {
        r"今日の復習[1-9]": r"\d語を復習|復習はあと|復習[\d,]+語のうち",
        r"忘れかけ\d": "忘れかけています", r"新しい単語を\d": r"新しい単語を\d",
        "明日でよい復習": "明日でかまいません",
        "目標まで": r"目標まで\d+問です",
        "今日の復習0": "ありません。(?!新しい|目標)|すべて終わりました",
        "連続記録まで": "^(?!.*(?:復習|忘れ|新しい|31語)).*1問で連続",
        "課題はあと": "^(?!.*(?:復習|忘れ|新しい|明日)).*40語中31語",
    },
}  # fmt: skip
_LEFT = re.compile(r"(?:\d+ \w+|Less than a minute) left today|今日はあと\d+(?:時間|分(?:未満)?)")
_TIME = re.compile(r"\d+h \d+m|\d+ minutes?|\d+時間\d*分?|\d+分")


@pytest.mark.parametrize("language", list(_NAMED))
def test_no_two_texts_of_a_drawn_screen_name_different_tasks_or_minutes(
    evaluate: Evaluate, language: str
) -> None:
    script = f"""{_SCREEN}
        let seed = 86;
        const draw = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
        const either = (...some) => some[Math.floor(some.length * draw())];
        print(Array.from({{ length: 1000 }}, () => screen({{
          due: either(0, 0, 1, 9, 52, 1205), ahead: either(0, 9, 90), fresh: either(0, 50),
          fading: either(0, 0, 1, 6, 225), pace: either(null, 0.4, 7, 21.5, 60),
          goal: either(null, null, 5, 200), answers: either(0, 0, 4, 40, 250),
          seconds: either(0, 700, 4000), usual: either(300, 900, 4000), current: either(0, 1, 4),
          rests: either(false, false, false, true),
          task: either(null, null, [0, 31], [4, 31], [4, null], [4, 40]),
          run: either([], [1], [2, 3]), hours: either(0.001, 0.3, 0.9, 2.5, 5, 9) }})));
        """
    screens = evaluate(script, language)
    for sentence, card, classes, streak, _ in screens:
        left = _LEFT.findall(sentence + streak)
        times = _TIME.findall(_LEFT.sub("", sentence) + card)
        assert (len({*left}) <= 1, len({*times}) <= 1) == (True, True), (sentence, card, streak)
        named = {shown: bool(re.search(shown, card)) for shown in _NAMED[language]}
        assert sum(named.values()) == 1, card
        for shown, said in _NAMED[language].items():
            assert bool(re.search(said, sentence)) == named[shown], (sentence, card)
        waits, none = list(named.values())[3:6:2]
        assert classes == (_RESTS if waits or none else _FULL)


def test_loads_follow_their_table(evaluate: Evaluate) -> None:
    """Many events in the least time lead to one load; what failed loads again after the page."""
    script = """
        let see;
        globalThis.IntersectionObserver = class {
          constructor(act) {
            see = (key) => act([{ isIntersecting: true, target: { dataset: { key } } }]);
          }
          disconnect() {}
        };
        const { Loads } = await import('./page/loads.js');
        const [ran, failed] = [[], []];
        const load = (name) => async () => {
          ran.push(name);
          if (name === 'card' && !failed.length) throw new Error('away');
        };
        const loads = new Loads({
          page: { on: ['first', 'change'], least: 100, run: load('page') },
          news: { on: ['page'], run: load('news') },
          card: { on: ['change'], at: 'card', run: load('card') },
        }, ({ message }) => failed.push(message));
        const wait = (time) => new Promise((done) => setTimeout(done, time));
        const count = async (number) => { while (ran.length < number) await wait(1); };
        const mark = (text) => ran.push(text);
        loads.happen('first');
        for (let times = 0; times < 3; times += 1) loads.happen('change');
        await count(2);
        mark('seen');
        see('card');
        await count(7);
        await wait(120);
        mark('changed');
        loads.happen('change');
        await count(9);
        loads.close();
        print([ran, failed]);
        """
    ran, failed = evaluate(script)
    first, again = ["page", "news"], ["page", "news", "card"]
    assert ran[:9] == [*first, "seen", "card", *again, "changed", "page"]
    assert failed == ["away"]


def test_an_equal_number_of_known_words_is_no_change(evaluate: Evaluate) -> None:
    script = """
        const { known } = await import('./page/news.js');
        const data = { day: '2024-03-11', knowledge: { expected: 14.2, items: 20, fading: 0 } };
        print([13.4, 13.6, 14.6].map((expected) =>
          known({ ...data, curve: [{ end: '2024-02-18', expected }] })[1].textContent));
        """
    compared = evaluate(script)
    day = "on 18 February 2024"
    assert compared == [f"1 more than {day}", f"as many as {day}", f"1 fewer than {day}"]


@pytest.mark.parametrize(
    ("end", "zone", "levels"),
    [
        ("2024-03-12T04:00:00Z", "Asia/Tokyo", [0, 0, 1, 1, 1, 2]),
        # At midnight in UTC ends the day of a learner without preferences, too.
        ("2024-03-12T00:00:00Z", "UTC", [0, 1, 2, 2, 0, 0]),
        ("2024-03-12T00:00:00Z", "America/New_York", [0, 0, 1, 1, 1, 2]),
        ("2024-03-12T00:00:00Z", "Asia/Shanghai", [2, 0, 0, 0, 0, 0]),
    ],
)
def test_the_streak_is_calm_until_six_hours_and_warns_in_three(
    evaluate: Evaluate, end: str, zone: str, levels: list[int]
) -> None:
    script = """
        const { learnToday, urgency } = await import('./page/past_day.js');
        const { today } = await import('./page/today.js');
        const { END: end } = process.env;
        const days = { d1: { date: '2024-03-11', end } };
        globalThis.fetch = async () => new Response(JSON.stringify({
          data: { today: [{ date: '2024-03-11' }], ...days } }));
        await learnToday(null);
        print([14, 20, 22.5, 23, 25, 27].map((hours) => {
          Date.now = () => Date.parse('2024-03-11T00:00:00Z') + 3_600_000 * hours - 1_800_000;
          const section = today(learner({
            day: '2024-03-11', streak: { current: 4, atRisk: true } }));
          const count = (style) =>
            section.all.filter(({ attributes }) => attributes.class === style).length;
          const left = Number(section.textContent.match(/(\\d+) hours? left/)?.[1] ?? 0);
          return [urgency(), count('mark warn'), count('emblem lit'), left > 6];
        }));
        """
    assert evaluate(script, END=end, TZ=zone) == [
        [level, int(level == 2), 0, False] for level in levels
    ]


def test_the_page_says_for_a_week_what_a_study_day_is_now(evaluate: Evaluate) -> None:
    script = """
        const { today } = await import('./page/today.js');
        const told = (changedAt) => today(learner({
          projections: [{ name: 'learning_streaks', changedAt }] })).textContent;
        print([inHours(-24 * 6), inHours(-24 * 8), null].map(told));
        """
    texts = evaluate(script)
    told = "A day with answers is a study day now."
    assert [told in text for text in texts] == [True, False, False]


@pytest.mark.parametrize(
    ("year", "day", "missing"),
    [  # the range has 2026 and 2027
        ("recent", "2027-01-01", ("2025-12-29", "2025-12-31")),  # a Friday
        ("recent", "2027-01-03", ("2025-12-29", "2025-12-31")),
        ("recent", "2027-01-04", None),  # 53 weeks since 5 January 2026
        ("recent", "2026-12-31", ("2025-12-29", "2025-12-31")),  # it is 2027 elsewhere
        ("recent", "2027-12-31", None),  # its last week ends in 2028
        (2027, "2027-01-01", None),
        (2026, "2027-01-01", None),
        (2025, "2027-01-01", ("2025-01-01", "2025-12-31")),
        # The browser's clock is a week, or years, slow; or years fast.
        ("recent", "2028-01-02", ("2028-01-01", "2028-01-02")),
        ("recent", "2035-06-01", ("2034-05-29", "2035-06-01")),
        (2035, "2035-06-01", ("2035-01-01", "2035-06-01")),
        ("recent", "2016-06-01", ("2015-06-01", "2016-06-01")),
    ],
)
def test_only_days_that_the_first_query_does_not_have_are_loaded_for_the_grid(
    evaluate: Evaluate, year: str | int, day: str, missing: tuple[str, str] | None
) -> None:
    script = """
        const { daysOutside, spanOf } = await import('./page/year.js');
        const { YEAR: year, DAY: day } = process.env;
        const range = { from: '2026-01-01', to: '2027-12-31' };
        print(daysOutside(range, spanOf(year === 'recent' ? year : Number(year), day), day));
        """
    assert evaluate(script, YEAR=f"{year}", DAY=day) == (
        missing and dict(zip(("from", "to"), missing, strict=True))
    )


def test_many_answers_have_the_darkest_shade_and_no_shade_is_skipped(evaluate: Evaluate) -> None:
    """In a tested year, all days have the same number of answers, or each has a random number."""
    years = [[number] * 88 for number in (1, 3, 4, 20, 500)]
    source = random.Random(13)
    years += [
        [min(2_000, int(source.lognormvariate(3, spread))) for _ in range(source.randint(1, 366))]
        for spread in (0.1, 0.5, 1, 2, 3)
        for _ in range(20)
    ]
    script = """
        const { scaleOf, shade } = await import('./page/year.js');
        print(JSON.parse(process.env.YEARS).map((answers) => {
          const scale = scaleOf(answers);
          return Array.from({ length: Math.max(...answers) + 2 }, (_, n) => shade(n, scale));
        }));
        """
    for answers, shades in zip(years, evaluate(script, YEARS=json.dumps(years)), strict=True):
        assert shades[0] == 0
        assert all(shades[1:])
        assert {later - earlier for earlier, later in itertools.pairwise(shades)} <= {0, 1}
        ranking = sorted(filter(None, answers))
        if ranking and (most := ranking[math.ceil(0.9 * len(ranking)) - 1]) >= 4:
            assert (shades[most], shades[most // 4]) == (4, 1)


def test_a_stream_is_parsed_for_any_chunk_size(evaluate: Evaluate) -> None:
    script = r"""
        const { results } = await import('./page/events_stream.js');
        const events = ['{"a":1}', '"日本"'].map((data) => `event: next\ndata: ${data}\n\n`);
        const end = 'event: complete\ndata:\n\nevent: next\ndata: cut off';
        const bytes = new TextEncoder().encode(`:\n\n${events.join('')}${end}`);
        const found = [];
        for (const size of [1, 2, 3, 7, 1_000]) {
          const body = new ReadableStream({ start(controller) {
            for (let at = 0; at < bytes.length; at += size) {
              controller.enqueue(bytes.slice(at, at + size));
            }
            controller.close();
          } });
          found.push([]);
          for await (const result of results(body)) found.at(-1).push(result);
        }
        print(found);
        """
    assert evaluate(script) == [[{"a": 1}, "日本"]] * 5


def test_the_minutes_for_the_due_items_are_rounded_up_exactly(evaluate: Evaluate) -> None:
    # If `change` (milliseconds) is 0, the due items take a whole number of minutes.
    cases = [
        (due, answers, minutes * answers * 60_000 // due + change)
        for due in (7, 19, 999)
        for answers in (due, 13 * due, 700 * due)
        for minutes in (1, 7, 15, 58)
        for change in (-1, 0, 1)
    ]
    script = """
        const { today } = await import('./page/today.js');
        const cases = JSON.parse(process.env.CASES);
        print(cases.map(([items, answers, ms]) => today(learner({
          days: new Map([[dayIn(-1), { studySeconds: 3600, answers: 1, correctAnswers: 1 }]]),
          due: [{ date: dayIn(0), items }],
          workload: { secondsPerAnswer: ms / (answers * 1000) },
        })).textContent.match(/about ([0-9]+) minutes?/)[1]));
        """
    times = evaluate(script, CASES=json.dumps(cases))
    expected = [-(-due * ms // (answers * 60_000)) for due, answers, ms in cases]
    assert [int(time) for time in times] == expected


def test_a_day_without_due_items_takes_no_minutes(evaluate: Evaluate) -> None:
    script = """
        const { when } = await import('./page/when_section.js');
        const due = [1, 0].map((items, ahead) => ({ date: dayIn(ahead), items }));
        const progress = { masteryStats: stages(0), totalItemsLearned: 0 };
        const data = learner({ due, progress, workload: { secondsPerAnswer: 5 } });
        print(when(data, {}).textContent);
        """
    text = evaluate(script)
    assert ("11m" in text, "00m" in text, "-0" in text) == (True, True, False)


def test_the_footer_says_that_all_is_counted_once_the_levels_are(evaluate: Evaluate) -> None:
    script = """
        const { freshness } = await import('./page/freshness.js');
        const { howFar } = await import('./page/how_far.js');
        const levels = [{ level: 'A1', catalogueItems: 9, progressRate: 0, ...stages(1) }];
        const domains = ['R', 'L'].map((domain, accuracyRate) =>
          ({ ...levels[0], domain, accuracyRate, itemsStudied: 1, answers: 20 }));
        const show = (learning, realtime, batch) => {
          const projections = [
            { name: 'daily_stats', eventsBehind: 0, secondsBehind: 0, status: realtime },
            { name: 'level_stats', eventsBehind: 0, secondsBehind: 0, status: batch }];
          const progress = { lastUpdated: inHours(-1), masteryStats: stages(learning) };
          const data = learner({ projections, levels, domains, progress });
          const marks = ['levels', 'skills'].map((key) =>
            howFar(data).find(key).children[1].textContent.split(':')[1]?.trim());
          return [freshness(data).textContent.split(' The newest')[0], ...marks];
        };
        print([show(1, 'CRITICAL', 'NORMAL'), show(2, 'NORMAL', 'NORMAL'),
          show(2, 'NORMAL', 'CRITICAL')]);
        """
    texts = evaluate(script)
    assert texts[0] == ["Everything recorded so far is counted.", None, None]
    assert "Everything" not in texts[1][0] + texts[2][0]
    assert [marks for _, *marks in texts[1:]] == [
        ["complete within five minutes"] * 2,
        ["later than usual"] * 2,
    ]


def test_the_levels_of_a_language_are_counted_once_they_have_its_items(evaluate: Evaluate) -> None:
    script = """
        const { isBatchPending } = await import('./page/freshness.js');
        const show = (itemsStudied) => isBatchPending({
          levels: [{ level: 'A1', itemsStudied: 2, learning: 2 }], projections: [],
          progress: { masteryStats: { learning: 5, shortTermMastered: 0, longTermMastered: 0 } },
          languages: [{ language: 'fr', itemsStudied: 3 }, { language: 'de', itemsStudied }],
          language: 'de' });
        print([show(2), show(3)]);
        """
    assert evaluate(script) == [False, True]


def test_uncounted_levels_have_dashes_and_only_the_next_two_have_dates(evaluate: Evaluate) -> None:
    """The catalogue has no C2 items in the learner's languages."""
    script = """
        const { howFar } = await import('./page/how_far.js');
        const show = (studied) => {
          const level = (level, more) => ({
            level, catalogueItems: 9, itemsStudied: 0, progressRate: 0, masteredLast28Days: 0,
            expectedDate: '2025-01-01', reached: false, ...stages(0), ...more });
          const levels = [
            level('A1', { reached: true, itemsStudied: studied, ...stages(studied) }),
            level('A2', { longTermMastered: studied && 3 }), level('B1'), level('B2'),
            level('C2', { catalogueItems: 0 })];
          const masteryStats = { ...stages(7), longTermMastered: 3 };
          const data = learner({ levels, domains: levels, progress: { masteryStats } });
          const [, ...content] = howFar(data).find('levels').children;
          const rows = content.flatMap((one) => one.tags?.('tbody') ?? [])[0].children;
          return [content.map(({ textContent }) => textContent).join(' '),
            rows.map(({ children }) => children.map(({ textContent }) => textContent))];
        };
        print([show(0), show(7)]);
        """
    before, after = evaluate(script)
    assert "current level" not in before[0]
    assert before[1] == [[level, "–", "–", "–"] for level in ("A1", "A2", "B1", "B2")]
    assert "The current level is A2." in after[0]
    assert "8 of its words (80%) are known at the same time: 5 more." in after[0]
    dates = ["already", "Jan 2025", "Jan 2025", "–"]
    assert [row[0] for row in after[1]] == ["A1", "A2", "B1", "B2"]
    assert [row[-1] for row in after[1]] == dates


def test_the_current_hour_has_the_rate_of_its_minutes(evaluate: Evaluate) -> None:
    script = """
        const { arrivals } = await import('./page/system_state.js');
        const rows = Array.from({ length: 24 }, (_, n) =>
          ({ start: inHours(n - 23.5), events: n < 23 ? 600 : 300, deadLetters: 0 }));
        print(arrivals(rows).textContent);
        """
    text = evaluate(script)
    assert text.count("10.0 events per minute") == 24


def test_a_learner_of_words_without_a_level_has_no_current_level(evaluate: Evaluate) -> None:
    script = """
        const { howFar } = await import('./page/how_far.js');
        const level = (level, catalogueItems, itemsStudied) =>
          ({ ...stages(itemsStudied), level, catalogueItems, itemsStudied });
        const cards = [[level('A1', 9, 0)], []].map((levels) =>
          howFar(learner({ progress: { masteryStats: stages(7) },
            levels: [...levels, level('UNKNOWN', 9, 7)] })).find('levels'));
        print(cards.map((card) => [card.textContent, card.tags('table').length]));
        """
    assert evaluate(script) == [["LevelsNone of the words studied so far has a level.Lists", 0]] * 2


def test_the_levels_of_another_scale_begin_with_the_next_one(evaluate: Evaluate) -> None:
    """Who knows no level of CEFR sees it without a choice."""
    script = """
        const { howFar } = await import('./page/how_far.js');
        const list = (id, more) => ({ ...stages(0), id, name: null, itemsStudied: 0, reached: false,
          catalogueItems: 10, progressRate: 0, masteredLast28Days: 0, ...more });
        const all = ['n5', 'n4', 'n3', 'n2', 'n1', 'x1', 'x2', 'x3'].map((id) => list(id));
        Object.assign(all[0], { name: 'N5', itemsStudied: 9, reached: true });
        Object.assign(all[1], { own: true, longTermMastered: 2, expectedDate: '2024-06-01' });
        const show = (rows, scale) => {
          const levels = [{ level: 'UNKNOWN', ...stages(9), catalogueItems: 9, itemsStudied: 9 }];
          const data = learner({ levels, progress: { masteryStats: stages(9) } });
          const card = howFar(data, { scales: [{ name: 'JLPT', rows }], scale }).find('levels');
          const menu = card.tags('option').filter(({ attributes }) => 'selected' in attributes);
          return [menu[0].textContent, card.find('lists')?.textContent,
            card.tags('p')[0].textContent,
            ...card.tags('tr').slice(1).map(({ children: [name, , , date] }) =>
              [name.textContent, date.textContent])];
        };
        print([show(all), show(all.slice(0, 1), 'JLPT'), show(all, '')]);
        """
    default, reached, cefr = evaluate(script)
    goal = "It is reached when 8 of its words (80%) are known at the same time: 6 more."
    assert default[:3] == ["JLPT", "Lists", f"The current level is n4. {goal}"]
    names = [
        ["n4 own", "Jun 2024"],
        *([name, "–"] for name in ("n3", "n2", "n1", "x1", "x2", "x3")),
    ]
    assert default[3:] == names
    assert reached == ["JLPT", None, "Every level is reached.", ["N5", "already"]]
    assert cefr == ["CEFR", "Lists", "None of the words studied so far has a level."]


def test_skills_are_named_only_if_they_differ_and_have_enough_answers(evaluate: Evaluate) -> None:
    """One rule for a learner, and for the class that is told what to train."""
    script = """
        const { howFar } = await import('./page/how_far.js');
        const { skills } = await import('./page/group_skills.js');
        const row = (name, answers, right) => ({
          ...stages(9), name, domain: name, answers, correctAnswers: answers * right,
          accuracyRate: right, itemsStudied: 9, catalogueItems: 9 });
        const show = (...domains) => [
          howFar(learner({ progress: { masteryStats: stages(9) }, domains })).find('skills'),
          skills({ levels: [], skills: domains, learners: 3 }).tags('p')[0],
        ].map((one) => one?.textContent.match(/Reading|train: [^.]*/)?.[0] ?? null);
        print([[90, 0.76], [90, 0.6], [3, 0]].map((reading) =>
          show(row('R', ...reading), row('W', 90, 0.8))));
        """
    assert evaluate(script) == [
        [None, None],
        ["Reading", "train: Reading (60% right)"],
        [None, None],
    ]


def test_an_unfinished_month_is_compared_with_the_same_days_before_it(evaluate: Evaluate) -> None:
    script = """
        const { improving } = await import('./page/improving.js');
        const row = (date, newMasteryCount) => studyDay(date, { newMasteryCount });
        const days = new Map([
          row('2024-02-11', 5), row('2024-02-12', 9), row('2024-03-02', 3), row('2024-03-11', 4)]);
        const masteryStats = { shortTermMastered: 0, longTermMastered: 21 };
        const mastered = (days, progress) =>
          improving({ days, progress, day: '2024-03-11' }).find('mastered').textContent;
        const { review } = await import('./page/review.js');
        const year = review({ days, day: '2024-03-11', restDays: new Set() }, 2024);
        const columns = year.children.find(({ attributes }) => attributes.class === 'skyline')
          .children[0].children.map(({ attributes }) => attributes.class);
        print([mastered(days), mastered(new Map(), { masteryStats }), columns.slice(0, 3)]);
        """
    text, before, columns = evaluate(script)
    assert columns == [None, None, "unfinished"]
    assert "no word was known for the first time" in before
    assert "March so far: 7; in the same days of February: 5." in text
    assert "March, so far: 7 words" in text


@pytest.mark.parametrize(
    ("day", "shown_at", "is_open", "year"),
    [  # are the week and the month open?
        ("2024-03-09", "", (True, True), "My 2024 so far"),  # a Saturday
        ("2024-03-10", "", (True, True), "My 2024 so far"),
        ("2024-03-10", "2024-03-10T12:00Z", (True, True), "My 2024 so far"),
        ("2024-03-10", "2024-03-11T12:00Z", (False, True), "My 2024 so far"),
        ("2024-03-09", "2024-03-11T12:00Z", (True, True), "My 2024 so far"),
        ("2024-02-29", "", (True, True), "My 2024 so far"),
        ("2024-02-29", "2024-03-01T12:00Z", (True, False), "My 2024 so far"),
        ("2023-12-31", "", (True, True), "My 2023 so far"),  # a Sunday
        ("2023-12-31", "2024-01-01T12:00Z", (False, False), "My 2023"),
    ],
)
def test_a_period_is_open_until_its_last_day_is_over(
    evaluate: Evaluate, day: str, shown_at: str, is_open: tuple[bool, bool], year: str
) -> None:
    """A day is shown as the present or, at a time, as a chosen day."""
    script = """
        const { DAY: day, SHOWN_AT: time } = process.env;
        const { dayAfter } = await import('./page/format.js');
        const { select } = await import('./page/past_day.js');
        const data = { localDay: { end: `${dayAfter(day, 1)}T00:00:00Z` } };
        globalThis.fetch = async () => new Response(JSON.stringify({ data }));
        Date.now = () => Date.parse(time || `${day}T20:00Z`);
        await select('ann', time ? day : null);
        const { improving } = await import('./page/improving.js');
        const { cards } = await import('./page/review.js');
        const days = new Map([-60, 0].map((n) => studyDay(dayAfter(day, n))));
        const studied = { days, day, restDays: new Set(), isOwn: true };
        const section = improving(studied, { range: 'quarter' });
        const [weeks, mastered] = ['weeks', 'mastered'].map((key) => section.find(key));
        const [review, table] = cards(studied, Number(day.slice(0, 4)));
        const hasOpen = (drawing) => drawing.all.some(({ name, attributes }) =>
          name === 'rect' && attributes.class?.includes('unfinished'));
        const newest = (card) => card.tags('tbody')[0].children[0].textContent;
        const isOpen = (text) => text.includes('so far');
        const column = review.tags('rect')[Number(day.slice(5, 7)) - 1];
        print({
          weeks: [hasOpen(weeks.tags('svg')[0]), isOpen(newest(weeks))],
          months: [hasOpen(mastered), isOpen(mastered.tags('p')[0].textContent),
            isOpen(mastered.tags('ol')[0].textContent), isOpen(newest(table)), hasOpen(column)],
          year: review.tags('h3')[0].textContent,
        });
        """
    found = evaluate(script, DAY=day, SHOWN_AT=shown_at)
    week, month = is_open
    assert found == {"weeks": [week] * 2, "months": [month] * 5, "year": year}


@pytest.mark.parametrize(
    ("day", "shown_at", "week", "whole"),
    [
        ("", "2024-03-10T12:00Z", "4 Mar, so far", 20),
        ("2024-03-10", "2024-03-10T12:00Z", "4 Mar, so far", 20),
        ("2024-03-10", "2024-03-12T12:00Z", "4 Mar", 30),
        ("2024-03-09", "2024-03-12T12:00Z", "4 Mar, so far", 20),
    ],
)
def test_a_group_s_week_is_open_until_its_last_day_is_over(
    evaluate: Evaluate, day: str, shown_at: str, week: str, whole: int
) -> None:
    script = """
        const { DAY: day, SHOWN_AT: time } = process.env;
        Date.now = () => Date.parse(time);
        globalThis.location = { hash: '#/group/g' };
        globalThis.setInterval = () => {};
        globalThis.reportError = (error) => { throw error; };
        globalThis.IntersectionObserver = class {};
        const weeks = ['2024-02-19', '2024-02-26', '2024-03-04'].map((start, index) => (
          { start, answers: 10 * (index + 1), activeMembers: 1, accuracyRate: 1 }));
        const node = { userId: 'ann', riskReasons: [], weeks };
        const hardestItems = [{ itemId: 'i', learners: 3, answers: 18, accuracyRate: 0.86 }];
        const group = { weeks, members: 1, hardestItems, itemsFading: [],
          knowledge: { items: 0, expected: 0 }, tasks: { edges: [] } };
        const learners = { totalCount: 1, pageInfo: { hasNextPage: false }, edges: [{ node }] };
        const { dayAfter } = await import('./page/format.js');
        const asked = [];
        globalThis.fetch = async (_, { body }) => {
          const { query, variables } = JSON.parse(body);
          asked.push(variables);
          const end = day && `${dayAfter(day, 1)}T04:00:00Z`;
          const data = query.startsWith('query Each') ? { d0: { end } } : { group, learners };
          return new Response(JSON.stringify({ data }));
        };
        const { Group } = await import('./page/group.js');
        const { h } = await import('./page/dom.js');
        class Shown extends Group { draw() {} follow() {} }
        const parameters = new URLSearchParams(day && { on: day });
        const view = new Shown(new Element('main'), 'g', parameters, { named() {} });
        await view.naming;
        if (view.problem) throw view.problem;
        const shown = h('main', null, view.sections());
        const [trend, hardest] = ['trend', 'hardest'].map((key) => shown.find(key));
        const newest = trend.tags('tbody')[0].children.at(-1).children[0];
        const ranges = [];
        for (const range of [{}, { weeks: 4 }, { weeks: 1, since: '2024-03-01' }]) {
          Object.assign(view, range);
          await view.load();
          ranges.push(asked.filter(({ order }) => order).at(-1)); // of the list of learners
        }
        print([newest.textContent, trend.tags('p')[0].textContent, hardest.textContent, ranges]);
        process.exit();
        """
    newest, compared, hardest, ranges = evaluate(script, DAY=day, SHOWN_AT=shown_at)
    assert newest == week
    assert compared == f"The last whole week has {whole} answers: +10 against the week before."
    assert hardest.startswith("Hardest wordsNo word is hard")  # 86% are right
    assert [(each["since"], each["days"]) for each in ranges] == [
        *((None, 7), ("2024-02-19", None), ("2024-03-01", None))
    ]
    as_of = f"{date.fromisoformat(day) + timedelta(1)}T03:59:59.999999Z" if day else None
    assert {each["asOf"] for each in ranges} == {as_of}, "the end of the members' day"


def test_an_item_is_overdue_from_the_learner_s_next_day_on(evaluate: Evaluate) -> None:
    script = """
        const { due } = await import('./page/items.js');
        Date.now = () => Date.parse('2024-03-11T01:00:00Z');
        const times = ['2024-03-09T23:30:00Z', '2024-03-10T23:30:00Z', '2024-03-11T00:30:00Z',
          '2024-03-11T03:00:00Z', null];
        const texts = (today) => times.map((dueAt) =>
          due({ dueAt, dueOn: dueAt && dueAt.slice(0, 10) }, today));
        const removed = due({ dueAt: times[0], dueOn: '2024-03-09', inPlay: false }, '2024-03-11');
        print([texts('2024-03-11'), texts('2024-03-10'), removed]);
        """
    # On the second day, the learner's day starts later than the calendar's.
    for zone in ("America/New_York", "Pacific/Auckland"):
        assert evaluate(script, TZ=zone) == [
            ["2 days overdue", "1 day overdue", "today", "in 2 hours", "–"],
            ["1 day overdue", "today", "today", "in 2 hours", "–"],
            "–",
        ]


def test_only_all_is_100_percent_and_only_none_is_0_percent(evaluate: Evaluate) -> None:
    script = """
        const { percent, recallShare, share } = await import('./page/format.js');
        const rates = [0, 0.0004, 0.004, 0.5, 0.9975, 1, null];
        print([percent, share, recallShare].map((show) => rates.map(show)));
        """
    assert evaluate(script) == [
        ["0%", "1%", "1%", "50%", "99%", "100%", "–"],
        ["0%", "0.1%", "0.4%", "50%", "99%", "100%", "–"],
        ["0%", "1%", "1%", "50%", "99%", "100%", "–"],
    ]
    shown = [terminal.whole_percent(rate) for rate in (0, 0.0004, 0.004, 0.5, 0.9975, 1)]
    assert shown == [0, 1, 1, 50, 99, 100]


def test_a_headword_sets_its_own_direction_and_language(evaluate: Evaluate) -> None:
    script = """
        const { word } = await import('./page/items.js');
        const words = [{ headword: 'שלום', language: 'he' }, { itemId: 'سلام' },
          ...['食べる', '먹다', 'oak', '食'].map((headword) => ({ headword }))];
        const blanks = [' ', '\\u3000\\u200b', '\\u3164'].map((headword) =>
          word({ itemId: 'oak-1', headword }).textContent);
        print([...words.map((item) => word(item).attributes).map(({ dir, lang }) => [dir, lang]),
          blanks]);
        """
    languages = ["he", None, "ja", "ko", "", ""]
    *found, blanks = evaluate(script)
    assert found == [["auto", language] for language in languages]
    assert blanks == ["oak-1"] * 3


_BROWSER_DAYS = re.compile(
    r"new Date\(\)|\.(?:get|set)(?:FullYear|Month|Date|Day|Hours)\(|getTimezoneOffset|toLocaleDate"
    r"|T\d\d:\d\d(?::[\d.]+)?`"  # a time without a zone
)


@pytest.mark.parametrize(
    "path", sorted(static_page.FOLDER.glob("*.js")), ids=lambda path: path.name
)
def test_no_module_takes_a_day_from_the_browser_s_calendar(path: Path) -> None:
    """The learner's days come from the API. Only they have the learner's zone and start hour."""
    assert _BROWSER_DAYS.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("start", "time", "day"),
    [  # a day in UTC begins at this hour of this distance to its date
        (2, "2023-04-04T15:56:00Z", "2023-04-04"),  # Berlin, 4:00; in Tokyo, it is the day after
        (2, "2023-04-05T01:59:59Z", "2023-04-04"),
        (2, "2023-04-05T02:00:00Z", "2023-04-05"),
        (-14, "2023-04-04T10:00:00Z", "2023-04-05"),  # Kiritimati
        (31, "2023-04-04T06:00:00Z", "2023-04-02"),  # Los Angeles, 23:00
    ],
)
def test_a_session_is_on_the_learner_s_day(
    evaluate: Evaluate, start: int, time: str, day: str
) -> None:
    script = """
        const { START: start, TIME: startedAt } = process.env;
        const edges = Array.from({ length: 9 }, (_, ago) => ({ node: { id: 's', startedAt:
          new Date(Date.parse(startedAt) - 96 * 3_600_000 * ago).toISOString() } }));
        let most = 0;
        globalThis.fetch = async (_, { body }) => {
          const { query, variables } = JSON.parse(body);
          const days = [...query.matchAll(/localDay\\(userId: \\$(u\\d+), date: "(.+?)"/g)];
          most = Math.max(most, days.length);
          const at = (date, ahead) => new Date(Date.parse(`${date}T00:00Z`) + (Number(start)
            + 24 * ahead) * 3_600_000).toISOString();
          const data = Object.fromEntries(days.map(([, user, date], index) => [`d${index}`,
            variables[user] === 'ann' && { date, start: at(date, 0), end: at(date, 1) }]));
          if (!days.length) data.sessions = { edges };
          return new Response(JSON.stringify({ data }));
        };
        const { loadSessions } = await import('./page/sessions_card.js');
        const rows = (await loadSessions('ann'))().tags('a');
        print([rows[0].textContent, most <= 30]);
        """
    shown = f"{date.fromisoformat(day):%-d %b}"
    assert evaluate(script, TZ="Asia/Tokyo", START=f"{start}", TIME=time) == [shown, True]


def test_the_learner_s_day_and_its_end_are_learned_with_one_request(evaluate: Evaluate) -> None:
    script = """
        const { learnToday, presentDay, untilTomorrow } = await import('./page/past_day.js');
        Date.now = () => Date.parse('2024-03-11T01:00:00Z');
        const bodies = [];
        const answer = (date) => { globalThis.fetch = async (_, { body }) => {
          bodies.push(JSON.parse(body));
          const pattern = /(d\\d): localDay\\(userId: \\$user, date: "(.+?)"/g;
          const days = [...bodies.at(-1).query.matchAll(pattern)];
          const data = Object.fromEntries(days.map(([, name, day]) =>
            [name, { date: day, end: `${day}T07:00:00Z` }]));
          return new Response(JSON.stringify({ data: { today: [{ date }], ...data } }));
        }; };
        const seen = [[presentDay(), untilTomorrow()]];
        for (const date of ['2024-03-09', '2024-03-12', '2024-05-01']) {
          answer(date);
          await learnToday('ann');
          seen.push([presentDay(), untilTomorrow()]);
        }
        print([bodies.length, seen]);
        """
    hour = 3_600_000
    assert evaluate(script) == [
        3,
        # Without an end if the browser's clock is wrong by days.
        [[None, None], ["2024-03-09", -42 * hour], ["2024-03-12", 30 * hour], ["2024-05-01", None]],
    ]


def test_points_and_labels_stand_at_the_middle_of_their_columns(evaluate: Evaluate) -> None:
    script = """
        const { axis } = await import('./page/charts.js');
        const { lines } = await import('./page/line_charts.js');
        const below = axis([[2, 'Feb']], 4);
        const of = (values) => lines([{ name: 'mature', values }], [1, 3], 'chart', String, below);
        const attributes = ({ children }) => children.at(-1).attributes;
        const chart = of([1, 2, 3, 1]);
        const [ticks, drawing] = chart.children[0].children;
        const ended = (...values) => of(...values).children[0].children[2].children
          .map(({ attributes: { x }, textContent }) => [x, textContent]);
        print([attributes(drawing).d, attributes(below),
          ticks.children.map(({ textContent }) => textContent),
          [[1, 2, 3, 1], [1, 2, null, null], [null, null]].map((values) => ended(values)),
          attributes(of([null, 2, null, null]).children[0].children[1])]);
        """
    path, label, ticks, ends, single = evaluate(script)
    assert re.findall(r"[ML]([\d.]+),", path) == ["12.5", "37.5", "62.5", "87.5"]
    assert (label["x"], label["text-anchor"]) == ("62.5%", "middle")
    assert ticks == ["3", "2", "1"]
    assert ends == [[["87.5%", "1"]], [["37.5%", "2"]], []]  # a line that ended has its label there
    assert single["class"] == "mature dot"


def test_the_curve_names_today_where_it_is_and_rounds_estimates_down(evaluate: Evaluate) -> None:
    script = """
        const { curve, days } = await import('./page/forgetting.js');
        const points = [[-300, 0.9], [0, 0.8], [12, 0.6999]].map(([days, after]) =>
          ({ date: dayIn(days), before: after, after }));
        const edges = { from: Date.parse(dayIn(-300)), to: Date.parse(dayIn(13)) };
        const [chart] = curve(points, dayIn(0), [], edges);
        const axis = days(dayIn(-300), dayIn(0), dayIn(12), edges);
        const labels = axis.tags('text').map((one) => [one.attributes.x, one.textContent]);
        print([chart.textContent, labels]);
        """
    text, labels = evaluate(script)
    assert text.endswith("69%")
    assert [label for _, label in labels] == ["16 May", "13 Oct", "today"]
    assert 95 < float(labels[-1][0].removesuffix("%")) < 97


def test_a_view_loaded_once_follows_the_clock_while_somebody_looks(evaluate: Evaluate) -> None:
    """An item's last answer was 90 seconds ago."""
    script = """
        const { ItemPage } = await import('./page/item_page.js');
        const at = inHours(-1 / 40);
        const item = { itemId: 'i', headword: 'snow', domains: [], answers: 1, correctAnswers: 1,
          mastery: 'LEARNING', firstAnsweredAt: at, lastAnsweredAt: at };
        const data = { item, lists: [], history: { reviews: [], days: [] }, forgetting: [],
          today: [{ date: dayIn(0) }] };
        globalThis.fetch = async () => new Response(JSON.stringify({ data }));
        let tick;
        globalThis.setInterval = (act) => { tick = act; };
        const texts = [];
        class Shown extends ItemPage {
          draw() { texts.push(/\\d+ minutes? ago/.exec(this.sections().at(-1).textContent)[0]); }
        }
        const page = new Shown(new Element('main'), 'i', null, null, { named() {} });
        tick();
        await page.naming;
        for (const [seconds, hidden] of [[20, false], [40, true], [40, false]]) {
          Date.now = () => now + 1_000 * seconds;
          document.hidden = hidden;
          tick();
        }
        print(texts);
        """
    assert evaluate(script) == ["1 minute ago", "1 minute ago", "2 minutes ago"]


def test_a_late_response_is_not_shown_as_the_list_of_another_filter(evaluate: Evaluate) -> None:
    script = """
        const { ItemList } = await import('./page/item_list.js');
        globalThis.location = { hash: '#/items' };
        globalThis.history = { pushState() {} };
        const requests = [];
        globalThis.fetch = (_, { body }) => new Promise((resolve) => requests.push({
          ...JSON.parse(body).variables,
          respond(totalCount) {
            const items = { totalCount, pageInfo: {}, edges: [] };
            const today = [{ date: '2024-03-11' }];
            resolve(new Response(JSON.stringify({ data: { items, today } })));
          },
        }));
        const parameters = new URLSearchParams('filter=answered&to=2024-03-01');
        const list = new ItemList(new Element('main'), null, parameters, {});
        Object.assign(list, { draw() {}, shell: { announce() {} } });
        const until = async (isTrue) => {
          const turn = () => new Promise((resolve) => setTimeout(resolve));
          for (let turns = 0; turns < 200 && !isTrue(); turns += 1) await turn();
        };
        list.change({ filter: 'LEECH' });
        requests[0].respond(1);
        await until(() => requests.length > 1);
        requests[1]?.respond(2);
        await until(() => list.data?.total === 2);
        print([requests.map(({ filter, to }) => [filter, to]), list.data.total]);
        process.exit();
        """
    filters, total = evaluate(script)
    # A day without a first one is left out, because the API would refuse it.
    assert (filters, total) == ([["ANSWERED", None], ["LEECH", None]], 2)


def test_a_list_is_read_on_until_enough_of_its_words_match(evaluate: Evaluate) -> None:
    """Of fifteen pages, only the thirteenth has new words; the first of them has no headword."""
    script = """
        globalThis.location = { hash: '#/list/n5' };
        globalThis.history = { replaceState(_, __, url) { location.hash = url; } };
        const { ListPage } = await import('./page/lists.js');
        let pages = 0;
        globalThis.fetch = async (_, { body }) => {
          const at = Number(JSON.parse(body).variables.after ?? 0);
          const edges = Array.from({ length: 200 }, (_, index) => ({ node: {
            itemId: `i-${index}`, headword: index ? 'Haus' : '\u200b', own: index > 0,
            mastery: at === 12 ? 'UNLEARNED' : 'LEARNING' } }));
          const pageInfo = { hasNextPage: at < 14, endCursor: `${at + 1}` };
          const members = { edges, pageInfo };
          const list = { id: 'n5', name: 'N5', items: 3_000, itemsStudied: 2_800, members };
          pages += 1;
          return new Response(JSON.stringify({ data: { list, today: [{ date: dayIn(0) }] } }));
        };
        const shell = { announce() {}, named() {} };
        const page = new ListPage(new Element('main'), 'n5', null, new URLSearchParams(), shell);
        page.draw = () => {};
        const seen = [];
        const see = () => {
          const card = page.sections().at(-1).find('members');
          const [count, own] = card.tags('p').map(({ textContent }) => textContent);
          seen.push([pages, count, own ?? '', card.tags('a')[0]?.attributes.href ?? '']);
        };
        await page.naming;
        see();
        Object.assign(page, { missing: 'yes' });
        for (let again = 0; again < 2; again += 1) {
          await page.load(true);
          see();
        }
        page.change({ search: 'I-' });
        see();
        print([seen, location.hash]);
        process.exit();
        """
    seen, address = evaluate(script)
    own = seen[0][2]
    assert own.startswith("Only you see what is marked “own”.")
    link = "#/item/i-0?list=n5"
    assert seen == [
        [1, "3,000 words", own, link],
        [11, "0 words among the first 2,200 of 3,000", "", ""],
        [13, "200 words among the first 2,600 of 3,000", own, link],
        [14, "1 word among the first 2,600 of 3,000", "", link],
    ]
    assert address == "#/list/n5?search=I-&missing=yes"


def test_a_view_of_lists_shows_the_scales_that_are_studied(evaluate: Evaluate) -> None:
    """Each query is valid, also about a past day; only the scales have no past."""
    script = """
        globalThis.location = { hash: '#/lists' };
        const { Lists } = await import('./page/lists.js');
        const { select } = await import('./page/past_day.js');
        const queries = [];
        const connection = (...edges) => ({ edges: edges.map((node) => ({ node })), pageInfo: {} });
        const list = (id, more) => ({ id, name: null, catalogueItems: 4, due: 3, expected: 1.6,
          itemsStudied: 0, learning: 0, shortTermMastered: 1, longTermMastered: 1, ...more });
        const data = {
          localDay: { end: '2024-03-02T05:00:00Z' }, today: [{ date: '2024-03-01' }],
          scales: [{ name: 'JLPT' }, { name: 'HSK' }],
          lists: connection(list('own:anki-1', { name: 'Verbs', own: true, progressRate: 0.5 })),
          s0: connection(list('n5')), s1: connection(list('hsk-1', { itemsStudied: 1 })),
          tasks: connection({ listId: 'hsk-1', groupId: 'g', groupName: '5a', items: 4, known: 1,
            knownNow: 3, dueOn: '2023-12-31' }),
        };
        globalThis.fetch = async (_, { body }) => {
          queries.push(JSON.parse(body).query);
          return new Response(JSON.stringify({ data }));
        };
        await select('ann', '2024-03-01');
        const view = new Lists(new Element('main'), 'ann', new URLSearchParams(), {});
        view.draw = () => {};
        while (!view.data) await new Promise((resolve) => setTimeout(resolve));
        const rows = view.sections().at(-1).tags('tr').map(({ children }) =>
          children.map(({ textContent }) => textContent));
        print([rows.filter(([name]) => name !== 'List'), queries.slice(1)]);
        """
    rows, queries = evaluate(script)
    assert rows == [
        ["Verbs own", "2 of 4 (50%)", "3", "2"],
        ["hsk-11 of 4 learned until 31 December 2023, 3 by now, 5a", "2 of 4 (–)", "3", "2"],
    ]
    assert [query.count("(userId: $whose)") for query in queries] == [1, 0]
    for query in queries:
        assert graphql.validate(SCHEMA._schema, graphql.parse(query)) == []


def test_a_school_is_read_to_the_end_before_quiet_groups_come_first(evaluate: Evaluate) -> None:
    script = """
        const { School } = await import('./page/school.js');
        globalThis.fetch = async (_, { body }) => {
          const { query, variables } = JSON.parse(body);
          const names = { u0: null, u1: { displayName: 'Ms Lane' } }; // of whoever studies, too
          if (query.includes('Each')) return new Response(JSON.stringify({ data: names }));
          const at = Number(variables.after ?? 0);
          const teachers = [`t-${at % 2}`, 't-0'];
          const node = { groupId: `g${at}`, members: 30, activeLast7Days: 20 - at, teachers };
          const pageInfo = { hasNextPage: at < 11, endCursor: `${at + 1}` };
          const groups = { totalCount: 12, pageInfo, edges: [{ node }] };
          return new Response(JSON.stringify({ data: { groups } }));
        };
        const texts = [];
        const view = new School(new Element('main'), {});
        view.draw = () => texts.push(view.sections().map(({ textContent }) => textContent).join());
        await view.load();
        const { Readers } = await import('./page/readers.js');
        const access = { readBy: 't-1', role: 'teacher', hour: inHours(0) };
        print([texts[0], view.data.read, view.data.groups[0].groupId, texts.at(-1),
          new Readers('ann').sentence(access)[1].textContent]);
        """
    first, read, quiet, named, reader = evaluate(script)
    assert "1 of 12 groups are read." in first
    assert (read, quiet, reader) == (12, "g11", "Ms Lane (t-1)")
    assert "Ms Lane (t-1), t-0" in named


def test_a_past_day_is_shown_as_of_its_last_microsecond(evaluate: Evaluate) -> None:
    ends = {
        "2024-03-02T05:00:00Z": "2024-03-02T04:59:59.999999Z",
        "2024-03-01T00:00:00.000000Z": "2024-02-29T23:59:59.999999Z",
        "2024-03-02T05:00:00.000001Z": "2024-03-02T05:00:00.000000Z",
        "2024-03-02T05:00:00.1Z": "2024-03-02T05:00:00.099999Z",
    }
    script = """
    const { microsecondBefore } = await import('./page/past_day.js');
    print(JSON.parse(process.env.ENDS).map(microsecondBefore));
    """
    assert evaluate(script, ENDS=json.dumps([*ends])) == [*ends.values()]


def test_a_query_about_the_past_asks_each_learner_s_field_as_of_then(evaluate: Evaluate) -> None:
    """Fields without a past do not begin with `(userId: $user`."""
    script = """
        const { ask, select } = await import('./page/past_day.js');
        const { QUERY } = await import('./page/query.js');
        const bodies = [];
        const data = { localDay: { end: '2024-03-02T05:00:00Z' } };
        globalThis.fetch = async (_, { body }) => {
          bodies.push(JSON.parse(body));
          return new Response(JSON.stringify({ data }));
        };
        await ask(QUERY, { user: 'u' });
        await select('u', '2024-03-01');
        await ask(QUERY, { user: 'u' });
        await select('u', null);
        await ask(QUERY, { user: 'u' });
        print([bodies[0], ...bodies.slice(2)]);
        """
    queries = evaluate(script)
    present, past, again = queries
    assert present == again
    assert "asOf" not in present["query"]
    assert past["variables"] == {"user": "u", "asOf": "2024-03-02T04:59:59.999999Z"}
    assert past["query"].count("asOf: $asOf") == present["query"].count("(userId: $user")
    parsed = graphql.parse(past["query"])
    assert graphql.validate(SCHEMA._schema, parsed) == []


@pytest.mark.parametrize(
    ("seconds", "minutes", "is_rejected", "renews"),
    [
        (3_600, 58.9, False, False), (3_600, 59.1, False, True), (3_600, 2, True, True),
        (80, 0.6, False, False), (80, 0.7, False, True),  # half of a short life
        (3_600, 0.1, True, False),  # a new token that the server rejects at once makes no loop
        (-7_200, 1, False, False), (-7_200, 91, False, True),  # the browser's clock is ahead
    ],
)  # fmt: skip
def test_a_token_is_renewed_once_shortly_before_it_ends(
    evaluate: Evaluate, seconds: int, minutes: float, is_rejected: bool, renews: bool
) -> None:
    script = """
        const { seconds, minutes, isRejected } = JSON.parse(process.env.CASE);
        const kept = { 'progress.hint': '', 'progress.state': 's' };
        globalThis.window = { sessionStorage: {
          getItem: (name) => kept[name] ?? null, removeItem: (name) => delete kept[name],
          setItem: (name, text) => { kept[name] = `${text}`; } } };
        document.querySelector = () => ({ content: 'https://app.example/sign-in' });
        const exp = now / 1_000 + seconds;
        const claims = btoa(JSON.stringify({ iat: exp - Math.abs(seconds), exp }));
        globalThis.location = { origin: 'https://p.example', pathname: '/', search: '?state=s',
          hash: `#token=.${claims}.` };
        globalThis.history = { replaceState() {} };
        const session = await import('./page/signed_in.js');
        session.takeToken();
        Date.now = () => now + 60_000 * minutes;
        globalThis.scrollY = 0;
        const first = session.mayRenew(isRejected);
        session.renewalUrl();
        print([first, session.mayRenew(true)]);
        """
    assert evaluate(
        script, CASE=json.dumps({"seconds": seconds, "minutes": minutes, "isRejected": is_rejected})
    ) == [renews, False]
