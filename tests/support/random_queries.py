"""Random GraphQL queries with variables; most of the queries are valid.

Some fields have aliases or directives, are repeated, or are in fragments. Arguments are literals,
null, missing, or variables with or without a default.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLObjectType,
    get_named_type,
    is_non_null_type,
    is_object_type,
)
from graphql.pyutils import Undefined

from progress.query.execution.selections import GRAPHQL, QUERY
from progress.query.graphql.schema import FIELDS

LONG = "a" * 70  # longer than any name that PostgreSQL allows
LATER = ("asOf", "knownAt")

COMPILED = tuple(name for name, declaration in FIELDS.items() if declaration.sql)
_ROOTS = (*COMPILED, *COMPILED, "itemStats", "events", "projectionStatus", "__typename")
_VALUES = {
    "from": ("2024-01-01", "2024-02-20", "2024-03-01", "2024-03-09"),
    "to": ("2024-03-09", "2024-03-31", "2024-05-01", "2025-12-01"),
    "userId": (*("ann",) * 20, "bob", "nobody"),
    "itemId": ("i1", "i2", "i5", "i7", "i13", "i32", "huge", "nothing", 7),
    "search": ("", "word", "O", "%", "\\"),
    "first": (1, 2, 14, 50, 200),
    "days": (1, 2, 14, 50, 200),
    "zeroFill": (True, False),
    "types": ([], ["CorrectAnswerGiven"], "ReviewProcessed"),
}
_ODD = {"Date": "2024-02-30", "Int": 2**31, "ID": 1.5, "String": 7, "Boolean": "true"}


@dataclass
class Query:
    """A document with its variables and operation name."""

    text: str
    variables: dict[str, Any]
    operation_name: str | None


@dataclass
class _Writer:
    """A document under construction."""

    chance_of: random.Random
    is_wild: bool
    declared: list[str] = field(default_factory=list)
    fragments: list[str] = field(default_factory=list)
    variables: dict[str, Any] = field(default_factory=dict)

    def chance(self, one_in: int) -> bool:
        return self.chance_of.randrange(one_in) == 0

    def variable(self, shape: str, value: Any, *, may_default: bool = True) -> str:
        """Declare a variable with a value, a default, both or neither; return its name."""
        name = f"v{len(self.declared)}"
        is_default = may_default and self.chance(3)
        default = f" = {_literal(value, shape)}" if is_default else ""
        self.declared.append(f"${name}: {shape.rstrip('!') if is_default else shape}{default}")
        may_miss = is_default or not shape.endswith("!")
        if not may_miss or self.chance(3):
            self.variables[name] = value
        if self.is_wild and self.chance(6):
            self.variables[name] = self.chance_of.choice([None, [], {}, "x", -1, 1.5, True])
        return f"${name}"

    def directive(self) -> str:
        if not self.chance(6):
            return ""
        name = self.chance_of.choice(["skip", "include"])
        value = self.chance(2)
        if self.chance(2):
            return f" @{name}(if: {json.dumps(value)})"
        return f" @{name}(if: {self.variable('Boolean!', value)})"

    def root(self, number: int) -> str:
        name = self.chance_of.choice(_ROOTS)
        if name == "__typename":
            return f"r{number}: __typename"
        written_arguments = [
            written
            for argument_name, argument in QUERY.fields[name].args.items()
            if (written := self.argument(argument_name, argument))
        ]
        arguments = f"({', '.join(written_arguments)})" if written_arguments else ""
        key = self.chance_of.choice([f"r{number}: ", f"{LONG}{number}: ", f"r{number}: "])
        inside = self.selection(QUERY.fields[name])
        return f"{key}{name}{arguments}{self.directive()}{inside}"

    def argument(self, name: str, argument: GraphQLArgument) -> str:
        """Return the text of the argument, with a random value, or an empty text to omit it."""
        is_required = is_non_null_type(argument.type) and argument.default_value is Undefined
        if name in LATER or (not is_required and self.chance(2)):
            return ""
        shape = str(argument.type)
        value = self.chance_of.choice(_values(name, argument))
        if not is_non_null_type(argument.type) and self.chance(5):
            value = None
        if self.is_wild and self.chance(8):
            value = _ODD.get(shape.rstrip("!"), value)
        if self.chance(2):
            return f"{name}: {_literal(value, shape)}"
        return f"{name}: {self.variable(shape, value)}"

    def selection(self, answer: GraphQLField) -> str:
        """Return a random selection in braces, or an empty text if the field is a scalar."""
        shape = get_named_type(answer.type)
        if not is_object_type(shape):
            return ""
        parts = [self.part(shape, depth=0) for _ in range(self.chance_of.randint(1, 6))]
        return " { " + " ".join(parts) + " }"

    def part(self, shape: GraphQLObjectType, depth: int) -> str:
        kind = self.chance_of.randint(1, 8) if depth < 2 else 8
        if kind > 2:
            return self.leaf(shape)
        inside = " ".join(self.part(shape, depth + 1) for _ in range(self.chance_of.randint(1, 3)))
        if kind == 1:
            condition = self.chance_of.choice(["", f" on {shape.name}"])
            return f"...{condition}{self.directive()} {{ {inside} }}"
        name = f"F{len(self.fragments)}"
        self.fragments.append(f"fragment {name} on {shape.name} {{ {inside} }}")
        return f"...{name}{self.directive()}" + (f" ...{name}" if self.chance(3) else "")

    def leaf(self, shape: GraphQLObjectType) -> str:
        if self.chance(8):
            return self.chance_of.choice(["__typename", "kind: __typename"])
        name = self.chance_of.choice(sorted(shape.fields))
        key = self.chance_of.choice(["", "", f"x_{name}: ", f"{LONG}_{name}: "])
        return f"{key}{name}{self.directive()}{self.selection(shape.fields[name])}"


def _values(name: str, argument: GraphQLArgument) -> Sequence[Any]:
    shape = get_named_type(argument.type)
    if isinstance(shape, GraphQLEnumType):
        return sorted(shape.values)
    return _VALUES.get(name, (None,))


def _literal(value: Any, shape: str) -> str:
    is_enum = isinstance(GRAPHQL.type_map.get(shape.rstrip("!")), GraphQLEnumType)
    return value if is_enum and isinstance(value, str) else json.dumps(value)


def query(seed: int) -> Query:
    """Return a query; about 25 % of all queries are invalid."""
    chance_of = random.Random(seed)
    writer = _Writer(chance_of, is_wild=seed % 4 == 0)
    roots = [writer.root(n) for n in range(chance_of.randint(1, 4))]
    if writer.chance(5):
        roots.insert(chance_of.randint(0, len(roots)), "__typename")
    if writer.chance(5):
        roots[0] = f"... on Query{writer.directive()} {{ {roots[0]} }} ...R ...R"
        writer.fragments.append("fragment R on Query { z: streak { current longest } }")
    declared = f"({', '.join(writer.declared)})" if writer.declared else ""
    texts = [f"query Q{declared} {{ {' '.join(roots)} }}", *writer.fragments]
    name = chance_of.choice([None, "Q"])
    if writer.chance(6):
        texts.append("query Other { streak { longest } }")
        name = chance_of.choice(["Q", "Q", "Q", "Other", "None", None, ""])
    return Query(" ".join(texts), writer.variables, name)
