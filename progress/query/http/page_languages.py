"""The languages of the learner's page, and the selection of one for a request."""

import functools
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import cookie_parser

# The `lang` of the HTML document for each file of texts (en.json, ja.json).
LANGUAGES = {"en": "en-GB", "ja": "ja"}
_DEFAULT = "en"


def select(headers: Mapping[str, str]) -> str:
    """Return the language selected on the page, or else the preferred one of Accept-Language."""
    selected = cookie_parser(headers.get("cookie", "")).get("language")
    if selected in LANGUAGES:
        return selected
    accepted = map(_parse, headers.get("accept-language", "").split(","))
    offered = [(quality, name) for name, quality in accepted if name in LANGUAGES and quality > 0]
    return max(offered, key=lambda offer: offer[0], default=(0.0, _DEFAULT))[1]


def _parse(choice: str) -> tuple[str, float]:
    """Return the primary language and the quality of one choice, such as `ja-JP;q=0.8`."""
    tag, _, parameter = choice.partition(";")
    name = tag.strip().lower().partition("-")[0]
    try:
        return name, float(parameter.strip().removeprefix("q=") or 1)
    except ValueError:
        return name, 0.0


def text(texts: bytes, key: str) -> str:
    """Return the text with a key such as `frame.skip` from a file of texts."""
    return str(functools.reduce(lambda node, name: node[name], key.split("."), _decode(texts)))


@functools.cache
def _decode(texts: bytes) -> dict[str, Any]:
    return msgspec.json.decode(texts, type=dict[str, Any])
