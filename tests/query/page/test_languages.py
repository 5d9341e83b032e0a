"""The page's texts: one file per language, and the language that a request selects."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from progress.query.http import page_languages, static_page
from tests.support import api

TEXTS = {
    language: json.loads((static_page.FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    for language in page_languages.LANGUAGES
}
_CALL = re.compile(r"\b(?:t|parts|textOf)\(\s*(.+?)(?:, \{|, '|\)|$)", re.MULTILINE)
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
    """Return the names of the placeholders in the texts."""
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


@pytest.fixture(scope="module")
def query_api(postgres: str) -> Iterator[api.Api]:
    with api.serve(postgres, app_url="https://learn.example/?a=1&b=2") as made:
        yield made


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
    assert json.loads(texts) == TEXTS[language[:2]]
    assert 'content="https://learn.example/?a=1&amp;b=2"' in index
    assert "{" not in index.replace(texts, "")
    assert {"Accept-Language", "Cookie"} <= set(response.headers["vary"].split(", "))
