"""Whether what a plug-in registers fits its declaration: the types of its fields, the arguments of its methods."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from bench.core.errors import UserError

PACKAGE = __name__.partition(".")[0]
IN_WORDS: Mapping[Any, str] = {str: "text", int: "a whole number", float: "a number", bool: "True or False"}


def refuse_odd_fields(thing: Any, called: str) -> None:
    """Raise UserError if a field of a dataclass, or of one in its fields, has a value of another type.

    `called` names it in the message. Python checks no types: a misspelled rule would pass for the default.
    """
    hints = _hints(type(thing))
    for name in (one.name for one in fields(thing)):
        value, hint = getattr(thing, name), hints[name]
        if not _fits(value, hint):
            raise UserError(f"{called} has the {name} {value!r}; fix: give it {_in_words(hint)}")
        for where, inner in _inside(value):
            refuse_odd_fields(inner, f"{called}: its {name}{where}")


def refuse_odd_methods(kind: type[Any], base: type[Any], called: str, constructed: bool) -> None:
    """Raise UserError if a method that a class has in place of `base`'s does not take the arguments of that one.

    `constructed` says whether the framework calls the class itself, with the arguments of `base`.
    """
    for name, wanted in _methods(base, constructed):
        own = inspect.getattr_static(kind, name)
        function = own.__func__ if isinstance(own, classmethod | staticmethod) else own
        if function is wanted:
            continue
        given = inspect.signature(wanted).parameters.values()
        named = {one.name: one for one in given if one.kind is inspect.Parameter.KEYWORD_ONLY}
        try:
            inspect.signature(function).bind(*(one for one in given if one.name not in named), **named)
        except TypeError as error:
            arguments = ", ".join(one.name for one in given)
            raise UserError(
                f"{called}: its {name} cannot be called as {name}({arguments}): {error}; fix: let it take these"
            ) from None


def _methods(base: type[Any], constructed: bool) -> Iterator[tuple[str, Any]]:
    """Yield the public functions of the framework's classes that a class derives from, and the constructor."""
    ours = [one for one in base.__mro__ if one.__module__.partition(".")[0] == PACKAGE]
    for name in dict.fromkeys(name for one in ours for name in vars(one)):
        found = inspect.getattr_static(base, name)
        function = found.__func__ if isinstance(found, classmethod | staticmethod) else found
        if inspect.isfunction(function) and (not name.startswith("_") or (constructed and name == "__init__")):
            yield name, function


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the dataclasses that a value is or contains, with what leads to each."""
    if is_dataclass(value) and not isinstance(value, type):
        yield "", value
    elif isinstance(value, Mapping):
        yield from ((f" {key!r}", inner) for key, one in value.items() for _, inner in _inside(one))
    elif isinstance(value, tuple):
        yield from ((f" {place}", inner) for place, one in enumerate(value) for _, inner in _inside(one))


def _hints(kind: type[Any]) -> dict[str, Any]:
    """Return the types of a class's fields; a name that only type checkers import stands for any type."""
    unknown: dict[str, Any] = {}
    while True:
        try:
            return typing.get_type_hints(kind, localns=unknown)
        except NameError as error:
            if (name := str(error.name)) in unknown:
                raise
            unknown[name] = Any


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value is of a type, as far as the type can be checked without a call."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in args
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in args)
    if origin is tuple:
        every = args[:1] * len(value) if isinstance(value, tuple) and Ellipsis in args else args
        return isinstance(value, tuple) and len(value) == len(every) and all(map(_fits, value, every))
    if origin is not None:
        if not isinstance(origin, type) or not issubclass(origin, Mapping):
            return True
        return isinstance(value, Mapping) and all(
            _fits(key, args[0]) and _fits(one, args[1]) for key, one in value.items()
        )
    if isinstance(hint, TypeVar):  # the parts of a trained task, each a dataclass of its own
        return is_dataclass(value)
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return hint is Any or not isinstance(hint, type) or isinstance(value, hint)


def _in_words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    return IN_WORDS.get(hint, f"a value of the type {inspect.formatannotation(hint)}")
