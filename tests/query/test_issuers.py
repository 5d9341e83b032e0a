"""Settings of the trusted issuer, and values that prevent startup."""

from typing import Any

import pytest

from progress.errors import SettingsError
from progress.query import auth
from progress.settings import Settings

REAL: dict[str, Any] = {"auth_issuer": "https://login.company.com", "auth_audience": "progress"}
KEYS = "https://login.company.com/jwks"


@pytest.mark.parametrize("environment", ["staging", "production"])
@pytest.mark.parametrize(
    "changed",
    [
        {"auth_issuer": "https://development.progress.invalid"},
        {"auth_issuer": "http://login.company.com"},
        {"auth_issuer": "https://localhost:8080"},
        {"auth_issuer": "https://127.0.0.1"},
        {"auth_jwks_url": "http://login.company.com/jwks"},
        {"auth_jwks_url": "https://10.0.0.7/jwks"},
        {"auth_jwks_url": "https://[::1]/jwks"},
        {"auth_sign_in_url": "http://login.company.com/sign-in"},
        {"auth_sign_in_url": "https://localhost/sign-in"},
    ],
)
def test_a_deployed_function_does_not_start_with_a_development_issuer(
    environment: Any, changed: dict[str, str]
) -> None:
    options: dict[str, Any] = {**REAL, "auth_jwks_url": KEYS, **changed}
    with pytest.raises(SettingsError, match=next(iter(changed)).upper()):
        auth.load_issuer(Settings(environment=environment, **options))


def test_firebase_is_the_default_issuer_and_other_issuers_need_a_jwks_url() -> None:
    firebase = auth.load_issuer(Settings(auth_audience="our-project"))
    assert firebase.name == "https://securetoken.google.com/our-project"
    assert firebase.jwks_url.startswith("https://www.googleapis.com/")
    other = auth.load_issuer(Settings(auth_jwks_url=KEYS, **REAL))
    assert (other.name, other.jwks_url) == (REAL["auth_issuer"], KEYS)
    nothing: dict[str, Any] = {}
    for options in (nothing, REAL, {**REAL, "auth_jwks_url": "file:///keys"}):
        with pytest.raises(SettingsError):
            auth.load_issuer(Settings(**options))
