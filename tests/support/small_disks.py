"""A PostgreSQL server on a small disk, which a test can fill."""

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from progress.adapters.postgres import database, migrations
from tests.support import folders
from tests.support.postgres_servers import OwnServer


@pytest.fixture
def small_disk() -> Iterator[Path]:
    with folders.create("small") as folder, folders.mount(folder, "size=140m,mode=711"):
        yield folder


@pytest.fixture
def small_server(small_disk: Path) -> Iterator[OwnServer]:
    server = OwnServer(small_disk)
    server.start("shared_buffers=16MB", "max_wal_size=32MB", "min_wal_size=32MB")
    with closing(database.connect(server.url)) as connection:
        migrations.apply(connection)
    yield server
    server.stop()


def fill(file: Path) -> None:
    with suppress(OSError), file.open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4_096))
