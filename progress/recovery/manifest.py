"""The manifest of a backup. It is written last, so that a folder with a manifest is complete."""

from datetime import datetime

import msgspec

from progress.errors import ProgressError

NAME = "manifest.json"
FORMAT = 1  # the version of the files' format


class Table(msgspec.Struct, frozen=True):
    """The file of a table: its rows as COPY writes them, compressed by gzip."""

    name: str
    rows: int
    bytes: int
    sha256: str


class Checkpoint(msgspec.Struct, frozen=True):
    """The last folded event of a shard; `event_id` is None if no event was folded."""

    shard: int
    position: int
    event_id: str | None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of a backup, and the log that it was made from."""

    format: int = FORMAT
    taken_at: datetime
    schema: str
    fingerprint: str
    head: int  # The log's last position.
    version: int  # The highest version of the learners' rows.
    checkpoints: list[Checkpoint]
    set_aside: list[int]  # positions of poisoned events, which the folds skipped
    tables: list[Table]


def encode(manifest: Manifest) -> bytes:
    """Encode the manifest as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest))


def decode(data: bytes) -> Manifest:
    """Decode a manifest; raise ProgressError if it is invalid or has another format."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise ProgressError(f"{NAME} is invalid: {error}; use another backup") from None
    if manifest.format != FORMAT:
        raise ProgressError(
            f"the backup has format {manifest.format}, but this code reads {FORMAT}: "
            "run `progress rebuild`"
        )
    return manifest
