"""The ledger of erasures. The archive's storage holds one object for each erased learner.

A backup of the database may be older than an erasure. After such a backup is restored, the ledger
says which learners must be erased again. Each learner is named only by a digest, a keyed hash of
the id. The ledger also stores the secret key of the hash. With this key, a new log that is filled
from the archive can still recognize the learners.
"""

from datetime import datetime

import msgspec

from progress.adapters.storage.storage import Storage
from progress.errors import ProgressError

_FOLDER = "erasures"
_END = ".json"
_KEY = f"{_FOLDER}/key"


class Entry(msgspec.Struct, frozen=True):
    """An erasure: the learner's hexadecimal digest, the operation's id, and the erasure's time.

    If the id contains a separator (see `tokens` in sql/event_store/functions/erased_letters.sql),
    `tokens_digest` is the digest of its tokens, and `token_count` is their number.
    """

    digest: str
    operation_id: str
    erased_at: datetime
    token_count: int = 1
    tokens_digest: str | None = None


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
        with archive.writing(_KEY) as output:
            output.write(msgspec.json.encode(key))
    elif known != key:
        raise ProgressError(
            "the ledger of erasures in the archive has the key of another log: "
            "run `progress erasures apply`"
        )


def read_key(archive: Storage) -> Key | None:
    """Return the secret key of the digests, or None if no learner has been erased yet."""
    if not archive.has(_KEY):
        return None
    try:
        return msgspec.json.decode(b"".join(archive.reading(_KEY)), type=Key)
    except msgspec.DecodeError as error:
        raise ProgressError(f"{_KEY} of the archive is damaged: {error}") from None


def write_entry(archive: Storage, entry: Entry) -> None:
    """Write the learner's entry, unless one exists; the entry of the first erasure stays."""
    path = _path(entry.digest)
    if archive.has(path):
        return
    with archive.writing(path) as output:
        output.write(msgspec.json.format(msgspec.json.encode(entry)))


def read_digests(archive: Storage) -> set[str]:
    """Return the digests of all erased learners, without reading the entries."""
    names = (name for name in archive.files(_FOLDER) if name.endswith(_END))
    return {name.removesuffix(_END) for name in names}


def read_entry(archive: Storage, digest: str) -> Entry:
    """Return the entry of an erased learner; raise ProgressError if the entry is damaged."""
    try:
        return msgspec.json.decode(b"".join(archive.reading(_path(digest))), type=Entry)
    except msgspec.DecodeError as error:
        raise ProgressError(f"{_path(digest)} of the archive is damaged: {error}") from None


def _path(digest: str) -> str:
    return f"{_FOLDER}/{digest}{_END}"
