"""Retries of failed requests to Google's APIs.

See https://cloud.google.com/storage/docs/retry-strategy.
"""

import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import requests
import tenacity
from google.auth.exceptions import GoogleAuthError, TransportError
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

ATTEMPTS = 5
TRANSIENT = frozenset({408, 429, *range(500, 600)})  # HTTP statuses
OUTAGES = (  # Without a response, or with a part of it.
    ConnectionError,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)

_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 4.0  # Each pause is twice as long as the one before.
# Pauses vary randomly by this share, so that clients do not retry all at once after an outage.
_JITTER = 0.25
_MAX_RETRY_AFTER_S = 60
_PARSER = Retry(retry_after_max=_MAX_RETRY_AFTER_S)

P = ParamSpec("P")
R = TypeVar("R")


def repeat(call: Callable[P, R], attempts: int = ATTEMPTS) -> Callable[P, R]:
    """Return a function that calls `call` again after each transient failure.

    If the last attempt fails too, the function raises the exception of this attempt.
    """

    # Not a decorated function, because it would keep the response in a cycle of references.
    def call_repeatedly(*args: P.args, **named: P.kwargs) -> R:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            stop=tenacity.stop_after_attempt(attempts),
            wait=_choose_next_pause,
            sleep=time.sleep,
            reraise=True,
        )
        return retrying(call, *args, **named)

    return call_repeatedly


def is_transient(error: BaseException) -> bool:
    """Return whether the same request may succeed later."""
    response = response_of(error)
    if response is not None:
        return response.status_code in TRANSIENT
    if isinstance(error, GoogleAuthError):  # The token endpoint did not respond, or failed.
        causes = (error, error.__cause__)
        return error.retryable or any(isinstance(cause, TransportError) for cause in causes)
    return isinstance(error, OUTAGES)


def response_of(error: BaseException | None) -> requests.Response | None:
    """Return the error response that a client has raised as an exception."""
    response: requests.Response | None = getattr(error, "response", None)
    return response


def pause(attempt: int, response: requests.Response | None) -> None:
    """Wait after a failed attempt, at least as long as Retry-After demands.

    `attempt` is the number of this attempt, from 0. `response` is None if there was no response.
    """
    time.sleep(_choose_pause(attempt, response))


def _choose_pause(attempt: int, response: requests.Response | None) -> float:
    """Return the seconds to wait after a failed attempt."""
    jitter = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
    seconds: float = min(_FIRST_PAUSE_S * 2**attempt, _MAX_PAUSE_S) * jitter
    return seconds if response is None else max(seconds, _retry_after(response))


def _choose_next_pause(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return _choose_pause(state.attempt_number - 1, response_of(error))


def _retry_after(response: requests.Response) -> float:
    """Return the seconds that Retry-After demands, as a number or a date; 0 without a valid one."""
    try:
        return float(_PARSER.parse_retry_after(response.headers.get("Retry-After", "0")))
    except InvalidHeader:
        return 0.0
