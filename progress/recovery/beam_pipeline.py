"""The pipeline of Apache Beam that loads the buckets of a rebuild from the archive.

Only the environment of `make beam` and the image of infra/beam can import this module, because the
project's environment does not have Beam. infra/beam/main.py runs the pipeline. The settings name
the database, or for workers on other machines, the program's arguments.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam
from apache_beam.options.pipeline_options import PipelineOptions

from progress import settings
from progress.errors import ProgressError, RebuildEnded
from progress.projections import replacement
from progress.recovery import rebuild_units

_SETTINGS = ("instance_connection_name", "db_name", "db_iam_user")
# The fold of a bucket needs up to 2 GB of memory and all processors. Each process therefore folds
# one bucket at a time.
_ONE_THREAD = "--number_of_worker_harness_threads=1"


def main(arguments: Sequence[str]) -> None:
    """Run the pipeline to its end; Beam gets the arguments that this program does not declare."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--archive", required=True)
    parser.add_argument("--buckets", type=int, required=True)
    parser.add_argument("--version", type=int, required=True)
    parser.add_argument("--schema", required=True)
    for name in _SETTINGS:
        parser.add_argument(f"--{name}")
    own, of_beam = parser.parse_known_args(arguments)
    connection = {name.upper(): getattr(own, name) for name in _SETTINGS if getattr(own, name)}
    _end_with_parent()
    pipeline = apache_beam.Pipeline(options=PipelineOptions([*of_beam, _ONE_THREAD]))
    _ = (
        pipeline
        | "List buckets" >> apache_beam.Create(range(own.buckets))
        | "Distribute" >> apache_beam.Reshuffle()
        | "Load" >> apache_beam.Map(process, own.archive, own.version, own.schema, connection)
    )
    pipeline.run().wait_until_finish()


def process(
    bucket: int, archive: str, version: int, schema: str, connection: Mapping[str, str]
) -> int:
    """Load a bucket; return the number of its events.

    Return 0 if the bucket is loaded already, or if the rebuild has ended. Raise ProgressError if
    the rebuild's schema has other folds than this code.
    """
    if schema != replacement.building_name():
        raise ProgressError(
            f"the pipeline's folds differ from those of {schema}: build the workers' image again, "
            "from the commit whose `progress rebuild` is running"
        )
    settings.fill_in(**connection)
    try:
        return rebuild_units.process(archive, None, bucket, version)
    except RebuildEnded:  # an error would only make the runner repeat the bucket
        return 0


def _end_with_parent() -> None:
    """Kill the process group when one of its processes is killed, or when the parent ends.

    Otherwise, Beam's local runner would wait for a killed worker for ever.
    """
    threading.excepthook = _report_and_kill
    threading.Thread(target=_await_parent, daemon=True).start()


def _report_and_kill(failure: Any) -> None:
    sys.stderr.write(f"{failure.exc_value}\n")
    sys.stderr.flush()
    os.killpg(0, signal.SIGKILL)


def _await_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # returns when the parent ends, because the parent never writes
    os.killpg(0, signal.SIGKILL)
