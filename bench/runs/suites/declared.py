"""Dataclasses from the tables of a TOML file: every key is known, every value has its field's type."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from bench.core.errors import hint
from bench.core.files import canonical_json
from bench.core.numbers import is_finite

T = TypeVar("T")
Check = Callable[[Any], bool]
"""A check whether a value has a type."""
Seed = int
"""A training seed: 0 to 2^31 - 1."""


NOT_IN_FILE: Mapping[str, bool] = {"in_file": False}
"""Metadata of a field that no key of the file sets."""


def made(kind: type[T], entry: Any, what: str, names: Mapping[str, str] = {}) -> T:
    """Build a part from a table of the file, and check it. `names` are keys that are not called as their field."""
    require_keys(entry, kind, what, names)
    return typed(kind(**{names.get(key, key): value for key, value in entry.items()}), names=names)


def require_keys(entry: Any, kind: type, what: str, names: Mapping[str, str] = {}) -> None:
    """Raise TypeError for what is no table, and for an unknown or missing key."""
    if not isinstance(entry, dict):
        raise TypeError(f"{what} is {entry!r}, which is no table")
    keys = {field: key for key, field in names.items()}
    known = {keys.get(one.name, one.name): one for one in fields(kind) if one.metadata != NOT_IN_FILE}
    for key in entry:
        if key not in known:
            raise TypeError(f"{what} has an unknown key {key!r}; {hint(key, known)}")
    for key, one in known.items():
        if key not in entry and one.default is MISSING and one.default_factory is MISSING:
            raise TypeError(f"{what} has no {key!r}; its keys: {', '.join(entry) or 'none'}")


def require_tables(data: Mapping[str, Any], scales: Any, lists: Collection[str]) -> None:
    """Raise TypeError unless a file's scales and `set` are tables, and its `lists`, in any scale too, lists."""
    if not isinstance(scales, dict) or not all(isinstance(values, dict) for values in scales.values()):
        raise TypeError(f"scales is {scales!r}; fix: make it tables, such as [scales.micro]")
    for values in (data, *scales.values()):
        for key in lists:
            if not isinstance(found := values.get(key, []), list):
                raise TypeError(f"{key} is {found!r}; fix: make it tables, such as [[{key}]]")
        if not isinstance(found := values.get("set", {}), dict):
            raise TypeError(f"set is {found!r}; fix: make it {WANTED['Mapping[str, Any]']}")


def refuse_doubles(values: Sequence[object], what: str, shown: Sequence[object] | None = None) -> None:
    """Raise ValueError for a value that a list has twice."""
    for number, value in enumerate(values):
        if value in values[:number]:
            first, again = ((shown or values)[place] for place in (values.index(value), number))
            raise ValueError(f"{what}: {first!r} and {again!r} are the same; fix: give it once")


def entries(value: object) -> Any:
    """Return a list of the file as a tuple; a text is no list of its letters."""
    return tuple(value) if isinstance(value, list) else value


def typed(read: T, more: Mapping[str, Check] = {}, names: Mapping[str, str] = {}) -> T:
    """Return a dataclass whose fields have their types, or raise TypeError.

    `more` checks further types, and `names` are keys of the file that are not called as their field.
    """
    checks, keys = {**IS, **more}, {field: key for key, field in names.items()}
    for one in fields(read):  # type: ignore[arg-type]
        value = getattr(read, one.name)
        if not checks.get(str(one.type), lambda _: True)(value):
            wanted = WANTED.get(str(one.type), "one of those that it can be")
            raise TypeError(f"{keys.get(one.name, one.name)} is {shown(value)}; fix: make it {wanted}")
    return read


def shown(value: object) -> str:
    """Return a value as the file has it, if it came from a list."""
    return repr(list(value) if isinstance(value, tuple) else value)


def _is_seed(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_plain(value: object) -> bool:
    """Whether a value has a digest, as recipes need one: no date, no NaN."""
    try:
        canonical_json(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def texts(value: object) -> bool:
    """Whether a value is a tuple of texts."""
    return isinstance(value, tuple) and all(isinstance(one, str) for one in value)


IS: Mapping[str, Check] = {
    "str": lambda value: isinstance(value, str),
    "str | None": lambda value: isinstance(value, str | None),
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool) and is_finite(value),
    "Seed": _is_seed,
    "tuple[str, ...]": texts,
    "tuple[Seed, ...]": lambda value: isinstance(value, tuple) and all(map(_is_seed, value)),
    "Mapping[str, list[Any]]": lambda value: (
        isinstance(value, dict)
        and all(isinstance(one, list) and one for one in value.values())
        and _is_plain(value)
    ),
    "Mapping[str, Any]": lambda value: isinstance(value, dict) and _is_plain(value),
    "dict[str, float]": lambda value: isinstance(value, dict) and all(map(is_finite, value.values())),
    'Literal["lower", "higher"]': lambda value: value in ("lower", "higher"),
}
"""Checks of values, by the types of fields as they are written."""
WANTED: Mapping[str, str] = {
    "str": "a text",
    "str | None": "a text",
    "bool": "true or false",
    "int": "a whole number",
    "Seed": "a whole number from 0 to 2147483647",
    "tuple[str, ...]": "a list of texts",
    "tuple[Curve, ...]": 'a list of curves, such as ["brightness", "fd"]',
    "tuple[Seed, ...]": "a list of whole numbers from 0 to 2147483647",
    "Mapping[str, list[Any]]": "a table of lists, such as { lr = [3e-4, 6e-4] }",
    "Mapping[str, Any]": "a table of recipe values, such as { lr = 3e-4 }",
    "dict[str, float]": "a table of numbers",
    'Literal["lower", "higher"]': '"lower" or "higher"',
}
"""What a value of each of these types is, in the words of the file."""
