"""Requests for access tokens are retried after outages, but not if the credentials are invalid."""

from typing import Any

import google.auth
import pytest
from google.auth import exceptions
from google.auth.credentials import Credentials

from progress.adapters import retries
from progress.adapters.google_api import GoogleApi
from progress.errors import DataflowUnavailable, ProgressError

ERRORS: Any = exceptions  # the package ships no types
URL = "http://127.0.0.1:9/"  # no request is sent, because no access token is issued


class Failing(Credentials):
    """Credentials for which no access token can be obtained."""

    def __init__(self, error: Exception) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # it ships no types
        self._error, self.requests = error, 0

    def refresh(self, _: object) -> None:
        self.requests += 1
        raise self._error


def caused_by_an_outage() -> Exception:
    error: Exception = ERRORS.RefreshError("no token from the metadata server")
    error.__cause__ = ERRORS.TransportError("connection refused")
    return error


def open_api(credentials: Failing, monkeypatch: pytest.MonkeyPatch) -> GoogleApi:
    monkeypatch.setattr(retries, "_FIRST_PAUSE_S", 0)
    monkeypatch.setattr(google.auth, "default", lambda **_: (credentials, None))
    return GoogleApi("Dataflow", DataflowUnavailable, "a scope")


@pytest.mark.parametrize(
    "error",
    [
        ERRORS.TransportError("connection refused"),
        ERRORS.RefreshError("internal_failure", retryable=True),
        caused_by_an_outage(),
    ],
    ids=["no response", "transient", "no response of the metadata server"],
)
def test_an_outage_of_the_token_endpoint_is_retried(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = Failing(error)
    with pytest.raises(DataflowUnavailable, match="there is no access token"):
        open_api(credentials, monkeypatch).request("GET", URL)
    assert credentials.requests == retries.ATTEMPTS


def test_invalid_credentials_are_reported_without_another_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    credentials = Failing(ERRORS.RefreshError("invalid_grant"))
    with pytest.raises(ProgressError, match="the credentials are invalid: invalid_grant"):
        open_api(credentials, monkeypatch).request("GET", URL)
    assert credentials.requests == 1
