"""What a backup says of itself; it is written last, so that a backup without one is none."""

from datetime import datetime

import msgspec

from progress.errors import ProgressError

NAME = "manifest.json"
FORMAT = 1  # of the files


class Table(msgspec.Struct, frozen=True):
    """A table's rows as COPY writes them, by gzip: how many, and the file as it was written."""

    name: str
    rows: int
    bytes: int
    sha256: str


class Checkpoint(msgspec.Struct, frozen=True):
    """The last event of a shard that is in the rows; `event_id` is None where there is none."""

    shard: int
    position: int
    event_id: str | None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a backup, and from which log it was made."""

    format: int = FORMAT
    taken_at: datetime
    schema: str
    fingerprint: str
    head: int  # of the log
    version: int  # the newest that a row has
    checkpoints: list[Checkpoint]
    set_aside: list[int]  # positions that the rows leave out
    tables: list[Table]


def written(manifest: Manifest) -> bytes:
    """As it is kept."""
    return msgspec.json.format(msgspec.json.encode(manifest))


def read(data: bytes) -> Manifest:
    """ProgressError where it is none, or of another format."""
    try:
        found = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as fault:
        raise ProgressError(f"{NAME} is none: {fault}; take another backup") from None
    if found.format != FORMAT:
        raise ProgressError(
            f"the backup is of format {found.format}, this code reads {FORMAT}: rebuild instead"
        )
    return found
