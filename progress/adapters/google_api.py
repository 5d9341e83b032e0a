"""Requests to one of Google's REST APIs, with the caller's credentials and with retries."""

from collections.abc import Collection
from typing import Any

import google.auth
import requests
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.auth.transport.requests import AuthorizedSession

from progress.adapters import retries
from progress.errors import ProgressError, Unavailable

_TIMEOUT_S = 60.0
# The last two of these errors occur while the body of the response is read.
_OUTAGES = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)


class GoogleApi:
    """A client of an API, or of one resource such as a bucket; error messages start with `name`.

    An outage of the API raises an error of the type `unavailable`.
    Without a scope, requests are sent without credentials, as emulators expect.
    """

    def __init__(self, name: str, unavailable: type[Unavailable], scope: str | None) -> None:
        self._name, self._unavailable = name, unavailable
        self._session = _authorized_session(scope) if scope else requests.Session()

    def request(
        self,
        method: str,
        url: str,
        *,
        attempts: int = retries.ATTEMPTS,
        allowed: Collection[int] = (),
        **more: Any,
    ) -> requests.Response:
        """Return a successful response, or one whose status is in `allowed`.

        Retry transient failures. If the last attempt also fails transiently, raise `unavailable`.
        Raise ProgressError for any other error.
        """
        for attempt in range(attempts - 1):
            response = None
            try:
                response = self._request_once(method, url, **more)
            except _NoResponse:
                pass
            else:
                if response.status_code not in retries.TRANSIENT:
                    return self._check(response, allowed)
                response.close()
            retries.pause(attempt, response)
        try:
            return self._check(self._request_once(method, url, **more), allowed)
        except _NoResponse as error:
            raise self._unavailable(f"{self._name} does not respond: {error}; try again") from error

    def _request_once(self, method: str, url: str, **more: Any) -> requests.Response:
        try:
            return self._session.request(method, url, timeout=_TIMEOUT_S, **more)
        except _OUTAGES as error:
            raise _NoResponse(str(error)) from error
        except GoogleAuthError as error:
            if _is_outage(error):
                raise _NoResponse(f"there is no access token: {error}") from error
            raise ProgressError(
                f"{self._name}: the credentials are invalid: {error}; "
                "run `gcloud auth application-default login`"
            ) from None

    def _check(self, response: requests.Response, allowed: Collection[int]) -> requests.Response:
        if response.ok or response.status_code in allowed:
            return response
        text = " ".join(response.text.split())[:200]
        is_outage = response.status_code in retries.TRANSIENT
        error_type = self._unavailable if is_outage else ProgressError
        raise error_type(f"{self._name}: HTTP {response.status_code}: {text}")


class _NoResponse(Exception):
    """The API or the token endpoint failed; the same request may succeed later."""


def _is_outage(error: GoogleAuthError) -> bool:
    """Return whether the token endpoint did not respond, or responded with a transient error."""
    causes = (error, error.__cause__)
    return error.retryable or any(isinstance(cause, TransportError) for cause in causes)


def _authorized_session(scope: str) -> AuthorizedSession:
    try:
        credentials, _ = google.auth.default(scopes=[scope])
    except DefaultCredentialsError:
        raise ProgressError(
            "there are no credentials: run `gcloud auth application-default login`"
        ) from None
    return AuthorizedSession(credentials)  # type: ignore[no-untyped-call] # it ships no types
