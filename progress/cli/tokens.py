"""`progress token`, and the options of who signs in."""

from typing import Annotated, get_args

import typer

from progress.cli import connections
from progress.errors import StackError


def _user(value: str | None) -> str | None:
    from progress.auth import is_id

    if value is not None and not is_id(value):
        raise typer.BadParameter("expected an id of 1 to 200 characters")
    return value


def _roles(value: list[str] | None) -> list[str] | None:
    from progress.auth import Role

    for role in value or ():
        if role not in get_args(Role):
            raise typer.BadParameter(f"{role} is not one of {', '.join(get_args(Role))}")
    return value


def _groups(value: list[str] | None) -> list[str] | None:
    from progress.auth import MAX_GROUPS

    for group in value or ():
        _user(group)
    if len(value or ()) > MAX_GROUPS:
        raise typer.BadParameter(f"expected at most {MAX_GROUPS} groups")
    return value


User = Annotated[str, typer.Option(help="The user's id.", callback=_user)]
OptionalUser = Annotated[str | None, typer.Option(help="The user's id.", callback=_user)]
Roles = Annotated[
    list[str] | None,
    typer.Option("--role", help="learner, teacher, support, admin or publisher.", callback=_roles),
]
Groups = Annotated[
    list[str] | None,
    typer.Option(
        "--group",
        help="A teacher's group; repeat the option for several groups.",
        callback=_groups,
    ),
]


def list_roles(role: list[str] | None, group: list[str] | None) -> list[str]:
    """Return the roles, by default `learner`.

    Raise BadParameter if there are groups, but the role `teacher` is missing.
    """
    roles = role or ["learner"]
    if group and "teacher" not in roles:
        raise typer.BadParameter("expected --role teacher with --group")
    return roles


def token(user: OptionalUser = None, role: Roles = None, group: Groups = None) -> None:
    """Create a token that the local stack accepts for one day; a publisher's needs no user."""
    from progress.serve import development_key

    key = connections.target().folder.key
    roles = list_roles(role, group)
    if user is None and roles == ["publisher"]:
        user = "publisher"
    if user is None:
        raise typer.BadParameter("expected --user")
    if not key.exists():
        raise StackError(f"there is no key {key}: first start the local stack with `progress up`")
    typer.echo(development_key.token(key, user, roles, groups=group or ()))
