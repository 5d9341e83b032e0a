"""Post events to ingest, as commands do; and ingest in this process, which notes what arrives."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from progress.event_store.post_answers import Recorded
from progress.event_store.posting import Ingest, Poster
from progress.serve import data_folder
from progress.serve.data_folder import DataFolder

Envelope = dict[str, Any]


class Stack(Protocol):
    """A local stack or a server, with its data folder."""

    @property
    def folder(self) -> Path | DataFolder: ...


def post(where: Stack | str, events: Iterable[Envelope], token: str = "") -> Recorded:
    """Post the events to a stack, or to an address with a token; return what became of them."""
    poster = Poster(Ingest(where, token) if isinstance(where, str) else find_ingest(where))
    poster.post(map(msgspec.json.encode, events), lambda _: None)
    return poster.recorded


def find_ingest(stack: Stack) -> Ingest:
    """Return the address of a running stack's ingest, and the key of its supervisor."""
    folder = stack.folder if isinstance(stack.folder, DataFolder) else DataFolder(stack.folder)
    state = data_folder.running(folder)
    return Ingest(state.addresses["events_url"], state.key, is_own=True)
