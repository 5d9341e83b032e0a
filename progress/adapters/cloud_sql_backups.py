"""The backups of a Cloud SQL instance, as Google's API lists them."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from progress.errors import ProgressError

if TYPE_CHECKING:
    from google.cloud.sqladmin_v1 import SqlBackupsServiceClient

_TIMEOUT_S = 5.0
_ENDED = {"SUCCESSFUL", "FAILED"}


class Backup(NamedTuple):
    """A backup that has ended; `error` is empty if it succeeded."""

    ended_at: datetime
    error: str


def list_ended(instance_connection_name: str) -> list[Backup]:
    """Return the instance's backups that have ended, the newest first.

    Raise ProgressError if Google rejects the call or does not respond.
    """
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    project, _, instance = instance_connection_name.rsplit(":", 2)
    request = {"parent": f"projects/{project}", "filter": f"instance:{instance}"}
    try:
        found = [*_client().list_backups(request=request, retry=None, timeout=_TIMEOUT_S)]
    except (GoogleAPIError, GoogleAuthError) as error:
        raise ProgressError(f"the backups of {instance_connection_name}: {error}") from error
    ended = [each for each in found if each.instance == instance and each.state.name in _ENDED]
    backups = [
        Backup(
            each.backup_interval.end_time.ToDatetime(UTC),
            "" if each.state.name == "SUCCESSFUL" else each.error.message or "it failed",
        )
        for each in ended
    ]
    return sorted(backups, reverse=True)


def _client() -> "SqlBackupsServiceClient":
    from google.cloud.sqladmin_v1 import SqlBackupsServiceClient  # takes a second

    return SqlBackupsServiceClient()
