"""The setting DATABASE_LOGINS: the errors for invalid values, and an empty value."""

import pytest

from progress.adapters.postgres import logins
from progress.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("progress_query", "entry 1: expected group=login"),
        ("progress_query=a progress_query=", "entry 2: expected group=login"),
        ("progress_query=a:", "entry 1: expected group=login"),
        ("=a:s3cr3t", "entry 1: expected one of the groups progress_ingest"),
        ("progress_erasure=a:s3cr3t", "expected one of the groups progress_ingest"),
        ("postgres=s3cr3t", "expected one of the groups"),
        ("progress_query=progress_project:s3cr3t", "progress_project is a group"),
        ("progress_query=a:s3cr3t progress_batch=a:s3cr3t", "a is listed twice"),
        (f"progress_query={'a' * 64}:s3cr3t", "is longer than 63 bytes"),
        ("progress_query=a progress_batch=%FF:s3cr3t", "entry 2: expected UTF-8"),
        ("progress_query=a:s3cr3t%FF", "entry 1: expected UTF-8"),
    ],
)
def test_an_invalid_setting_is_reported_without_its_password(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as refused:
        logins.parse(text)
    assert "s3cr3t" not in str(refused.value)


def test_an_empty_setting_is_parsed_as_no_logins() -> None:
    assert logins.parse(" ") == []
