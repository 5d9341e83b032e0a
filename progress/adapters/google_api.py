"""Requests to Cloud Storage with retries, its errors, and the credentials of this process."""

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

import google.auth
import requests
from google.auth.credentials import Credentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

from progress.adapters import retries
from progress.errors import ProgressError, StorageUnavailable

TIMEOUT_S = 60.0  # for each request
FAILURES = (requests.HTTPError, GoogleAuthError, *retries.OUTAGES)


class GoogleApi:
    """A client of one resource, such as a bucket; error messages start with `name`.

    Requests are sent without credentials.
    """

    def __init__(self, name: str) -> None:
        self._name, self._session = name, requests.Session()

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

        Retry transient failures. If the last attempt also fails transiently, raise
        StorageUnavailable. Raise ProgressError for any other error.
        """
        send = retries.repeat(self._request_once, attempts)
        with translate_errors(self._name, FAILURES):
            return send(method, url, allowed, **more)

    def _request_once(
        self, method: str, url: str, allowed: Collection[int], **more: Any
    ) -> requests.Response:
        response = self._session.request(method, url, timeout=TIMEOUT_S, **more)
        if not response.ok and response.status_code not in allowed:
            raise requests.HTTPError(response=response)
        return response


@contextlib.contextmanager
def translate_errors(name: str, failures: tuple[type[Exception], ...]) -> Iterator[None]:
    """Raise an outage as StorageUnavailable, and any other of the failures as a ProgressError."""
    try:
        yield
    except failures as error:
        error_type = StorageUnavailable if retries.is_transient(error) else ProgressError
        raise error_type(f"{name}{_describe(error)}") from error


def find_credentials(scope: str) -> Credentials:
    """Return the credentials of this process; raise ProgressError if there are none."""
    try:
        credentials, _ = google.auth.default(scopes=[scope])
    except DefaultCredentialsError:
        raise ProgressError(
            "there are no credentials: run `gcloud auth login --update-adc`"
        ) from None
    return credentials


def _describe(error: Exception) -> str:
    response = retries.response_of(error)
    if response is not None:
        return f": HTTP {response.status_code}: {' '.join(response.text.split())[:200]}"
    if not isinstance(error, GoogleAuthError):
        return f" does not respond: {error}; try again"
    if retries.is_transient(error):
        return f" does not respond: there is no access token: {error}; try again"
    return f": the credentials are invalid: {error}; run `gcloud auth login --update-adc`"
