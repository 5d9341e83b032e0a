"""The page's files over HTTP, its texts in each language, and its modules on Node."""

import gzip
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from progress.event_store.events import EVENT_TYPES
from progress.projections import schema
from progress.query.http import static_page
from tests.conftest import skip_without
from tests.support import api, programs

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


def test_the_index_and_a_file_of_another_version_are_revalidated_each_time(
    query_api: api.Api,
) -> None:
    first = query_api.request("GET", "/")
    assert first.status_code == 200
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    assert first.headers["cache-control"] == "no-cache"
    again = query_api.request("GET", "/", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.body) == (304, b"")
    assert query_api.request("GET", "/", headers={"if-none-match": 'W/"other"'}).status_code == 200
    other = query_api.request("GET", "/page/0123456789abcdef/page.css")
    assert (other.status_code, other.headers["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_immutable_and_has_its_media_type(query_api: api.Api, name: str) -> None:
    plain = query_api.request("GET", f"/page/{version(query_api)}/{name}")
    source = (static_page.FOLDER / name).read_text(encoding="utf-8")
    if name.endswith(".js"):  # the lines of errors are those of the file
        assert len(text(plain).splitlines()) == len(source.splitlines())
    assert len(plain.body) <= len(source.encode())
    assert "immutable" in plain.headers["cache-control"]
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    kinds[".json"] = "application/json"
    assert plain.headers["content-type"].startswith(kinds[Path(name).suffix])
    assert plain.headers["x-content-type-options"] == "nosniff"
    head = query_api.request("HEAD", f"/page/{version(query_api)}/{name}")
    assert (head.body, head.headers["content-length"]) == (b"", str(len(plain.body)))


@pytest.mark.parametrize(
    "path",
    ["/page", "/page/", "/page/x", "/page/x/", "/page/x/index.html", "/page/x/../../settings.py",
     "/page/x/%2e%2e/settings.py", "/x/page/x/page.css", "/index.html", "/favicon.ico"],
)  # fmt: skip
def test_paths_that_are_not_files_of_the_page_are_not_found(query_api: api.Api, path: str) -> None:
    assert query_api.request("GET", path).status_code == 404
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
    used |= {key for key in known if key.removesuffix("Theirs") in used}
    assert {key for key in known - used if not key.startswith(tuple(prefixes))} == set()
    assert {
        prefix for prefix in prefixes if not any(key.startswith(prefix) for key in known)
    } == set()


def test_japanese_texts_have_no_english_words() -> None:
    words = {
        word
        for texts in leaves(TEXTS["ja"]).values()
        for text in texts
        for word in re.findall(r"[A-Za-z_]{2,}", re.sub(r"\{\w+\}", "", text))
    }
    fields = (one.__struct_fields__ for one in EVENT_TYPES.values())
    words -= {"event_id", "occurred_at"}.union(EVENT_TYPES, *fields)  # what senders send
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
    for address in ("login.company.com", "learn.example"):
        assert f'content="https://{address}/?a=1&amp;b=2"' in index
    assert '<meta name="environment" content="development">' in index
    assert "{" not in index.replace(texts, "")
    assert {"Accept-Language", "Cookie"} <= set(response.headers["vary"].split(", "))


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_page_names_only_projections_that_exist(language: str) -> None:
    """A projection without a name is shown by the words of its model's name."""
    shown = {model.name for model in (*schema.REALTIME, *schema.BATCH) if model.field}
    assert TEXTS[language]["lag"]["names"].keys() <= shown | {"events out"}


def test_the_modules_of_the_page_on_node(request: pytest.FixtureRequest) -> None:
    if not shutil.which("node"):
        skip_without(request, "node")
    modules = sorted(Path(__file__).parent.glob("page/modules/*.test.mjs"))
    assert modules
    programs.run(["node", "--test", *modules], os.environ)
