"""Pauses between two attempts at a request to one of Google's APIs.

See https://cloud.google.com/storage/docs/retry-strategy.
"""

import random
import time

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

ATTEMPTS = 5
TRANSIENT = frozenset({408, 429, *range(500, 600)})  # HTTP statuses

_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 4.0  # Each pause is twice as long as the one before.
# Pauses vary randomly by this share, so that clients do not retry all at once after an outage.
_JITTER = 0.25
_MAX_RETRY_AFTER_S = 60
_PARSER = Retry(retry_after_max=_MAX_RETRY_AFTER_S)


def pause(attempt: int, response: requests.Response | None) -> None:
    """Wait after a failed attempt, at least as long as Retry-After demands.

    `attempt` is the number of this attempt, from 0. `response` is None if there was no response.
    """
    jitter = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
    seconds = min(_FIRST_PAUSE_S * 2**attempt, _MAX_PAUSE_S) * jitter
    if response is not None:
        seconds = max(seconds, _retry_after(response))
    time.sleep(seconds)


def _retry_after(response: requests.Response) -> float:
    """Return the seconds that Retry-After demands; 0 if the header is missing or invalid.

    The header contains a number of seconds or a date.
    """
    try:
        return _PARSER.parse_retry_after(response.headers.get("Retry-After", "0"))
    except InvalidHeader:
        return 0.0
