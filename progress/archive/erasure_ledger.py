"""The ledger of all erasures, in the archive: one object for each erased learner.

A backup of the database may be older than an erasure. After such a backup is restored, the ledger
says which learners must be erased again. Each learner is named only by a digest, a keyed hash of
the id. The ledger also stores the secret key of the hash. With this key, a new log that is filled
from the archive can still recognize the learners.
"""

from datetime import datetime
from typing import TypeVar

import msgspec

from progress.adapters.storage.storage import Storage, encode_json
from progress.errors import ArchiveDamaged, ProgressError

_LEDGER = "erasures"
_END = ".json"
_KEY = f"{_LEDGER}/key"

_T = TypeVar("_T")


class Entry(msgspec.Struct, frozen=True):
    """An erasure: the learner's hexadecimal digest, the operation's id, and the erasure's time."""

    digest: str
    operation_id: str
    erased_at: datetime


class Key(msgspec.Struct, frozen=True):
    """The secret HMAC key of the digests, in two forms.

    `inner` is the key XORed with the inner pad, and `outer` is the key XORed with the outer pad.
    Each form is hexadecimal text.
    """

    inner: str
    outer: str


def write_key(archive: Storage, key: Key) -> None:
    """Write the secret key of the digests; raise ProgressError if the ledger has another key."""
    known = read_key(archive)
    if known is None:
        archive.write(_KEY, msgspec.json.encode(key))
    elif known != key:
        raise ProgressError(
            "the ledger of erasures in the archive has the key of another log: "
            "run `progress erasures apply`"
        )


def read_key(archive: Storage) -> Key | None:
    """Return the secret key of the digests, or None if no learner has been erased yet."""
    content = archive.read(_KEY)
    return _parse(content.data, Key, _KEY) if content else None


def write_entry(archive: Storage, entry: Entry) -> None:
    """Write the learner's entry, unless one exists; the entry of the first erasure stays."""
    path = _path(entry.digest)
    if not archive.has(path):
        archive.write(path, encode_json(entry))


def read_digests(archive: Storage) -> set[str]:
    """Return the digests of all erased learners, without reading the entries."""
    names = (name for name in archive.files(_LEDGER) if name.endswith(_END))
    return {name.removesuffix(_END) for name in names}


def read_entry(archive: Storage, digest: str) -> Entry:
    """Return the entry of an erased learner; raise ProgressError if the entry is damaged."""
    path = _path(digest)
    return _parse(b"".join(archive.reading(path)), Entry, path)


def _parse(data: bytes, type_: type[_T], path: str) -> _T:
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArchiveDamaged(f"{path} of the archive is damaged: {error}") from None


def _path(digest: str) -> str:
    return f"{_LEDGER}/{digest}{_END}"
