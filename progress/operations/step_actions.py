"""The steps of each kind of operation. Another worker may repeat any of them."""

from collections.abc import Callable, Mapping

import msgspec

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.adapters.storage import storage
from progress.errors import EventStoreError, ProgressError, RebuildRunning
from progress.operations import erasure_steps, export_files, export_user, step_connections
from progress.operations.claim import ClaimedOperation
from progress.operations.step_connections import connection_for, parse_arguments
from progress.projections import batch, rebuild, replacement, replay

Action = Callable[[ClaimedOperation], object]

_RETRY_INTERVAL_S = 0.2  # while another run holds the lock
_FOLD_SHARE = 0.9  # of a rebuild's progress


class ReplayArguments(msgspec.Struct, frozen=True):
    """The arguments of REPLAY_DEAD_LETTERS."""

    letter_ids: list[int]


class ExportArguments(msgspec.Struct, frozen=True):
    """The arguments of EXPORT_USER."""

    user_id: str


def _run_batch(operation: ClaimedOperation) -> object:
    """Run the whole batch job, after a scheduled run that holds the lock."""
    replayed = swept = 0
    with connection_for(operation) as connection:
        while True:
            report = batch.run(connection, publisher=operation.publisher)
            replayed += report.replayed
            swept += report.swept
            if report.learners is not None:
                break
            operation.wait(_RETRY_INTERVAL_S)
    return {"replayed": replayed, "swept": swept, "learners": report.learners}


def _fold(operation: ClaimedOperation) -> object:
    """Fold every projection in a second schema, after another rebuild that is running.

    A rebuild that ends without its swap drops that schema, so that nothing needs compensation.
    """

    def connect() -> Connection:
        return operation.with_deadline(step_connections.connect())

    def report_progress(folded: int, total: int) -> None:
        operation.report_progress(_FOLD_SHARE * folded / max(total, 1))

    while True:
        opening = replacement.open_replacement(connect, operation.publisher)
        try:
            operation.replacement = operation.resources.enter_context(opening)
        except RebuildRunning:
            operation.wait(_RETRY_INTERVAL_S)
        else:
            return {"events": rebuild.fold(connect, on_progress=report_progress)}


def _swap(operation: ClaimedOperation) -> object:
    """Swap the second schema in; return the number of events folded in all."""
    # A worker that takes over a rebuild folds again, so that it has a schema of its own.
    second = operation.replacement
    operation.with_deadline(second.connection)
    return {"events": operation.outcomes["fold"]["events"] + second.swap()}


def _replay(operation: ClaimedOperation) -> object:
    """Replay each dead letter; return the ids replayed, and why the others stay."""
    ids = parse_arguments(operation, ReplayArguments).letter_ids
    replayed: list[str] = []
    stay: list[dict[str, str]] = []
    with connection_for(operation) as connection:
        for done, letter_id in enumerate(ids):
            operation.report_progress(done / len(ids))
            try:
                reason = replay.replay(connection, letter_id, operation.publisher)
            except EventStoreError as error:
                reason = str(error)
            if reason is None:
                replayed.append(str(letter_id))
            else:
                stay.append({"id": str(letter_id), "reason": reason})
    return {"replayed": replayed, "stay": stay}


def _write_export(operation: ClaimedOperation) -> object:
    """Write the learner's archive; a repeated attempt replaces the object."""
    learner = parse_arguments(operation, ExportArguments).user_id
    name = export_files.object_name(operation.id)
    with connection_for(operation) as connection:
        export_user.catch_up(connection, learner, operation.publisher, operation.raise_if_expired)
        with _exports().writing(name) as output:
            archive = export_user.write(connection, learner, output, operation.report_progress)
            operation.raise_if_expired()
    return export_files.ExportedFile(
        object=name,
        file=f"progress-{archive.taken_at.date()}.zip",
        bytes=archive.bytes,
        sha256=archive.sha256,
    )


def _offer_export(operation: ClaimedOperation) -> object:
    """Return the file, which the operation's result then names."""
    file = msgspec.convert(operation.outcomes["write"], export_files.ExportedFile)
    if not _exports().has(file.object):
        raise ProgressError("the exported file does not exist any more")
    return file


def _delete_export(operation: ClaimedOperation) -> object:
    """Delete the object, if the step has written it."""
    _exports().remove_file(export_files.object_name(operation.id))
    return None


def _exports() -> storage.Storage:
    return storage.open_storage(export_files.location(settings.current()))


ACTIONS: dict[str, Mapping[str, Action]] = {
    "RUN_BATCH": {"batch": _run_batch},
    "REBUILD": {"fold": _fold, "swap": _swap},
    "REPLAY_DEAD_LETTERS": {"replay": _replay},
    "EXPORT_USER": {"write": _write_export, "offer": _offer_export},
    "ERASE_USER": {
        "forbid": erasure_steps.forbid,
        "forget": erasure_steps.forget,
        "redact": erasure_steps.redact,
        "files": erasure_steps.files,
        "close": erasure_steps.close,
    },
}

COMPENSATIONS: dict[str, Mapping[str, Action]] = {"EXPORT_USER": {"write": _delete_export}}
