"""Methods as data: the TOML file beside a distiller's module, and files of variants. Imports no torch.

A family's file lists all its methods, so that their names and recipes can be read without importing torch:

    recipe = "methods.recipes:DMDRecipe"
    [recipes.micro]
    lr = 6e-4
    [methods.dmd2]
    summary = "one line that `bench list` shows"
    [methods.dmd-ttur]
    extends = "dmd2"
    summary = "dmd2 without its GAN term"
    switches = { gan = false }
    on.imagenet64 = { iterations = 410000 }

A user's file of variants (`--plugin my_variants.toml`) contains only `methods`, each with an `extends`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import UserError, hint
from bench.core.files import read_text
from bench.core.imports import load_class
from bench.training.method import Layer, Method, Variant

FAMILY_KEYS = ("recipe", "recipes", "methods")
VARIANT_KEYS = ("extends", "summary", "switches", "on", "published")


@dataclass(frozen=True)
class _Table:
    """A table of a TOML file, whose errors name its place in the file."""

    values: Mapping[str, Any]
    where: str

    def only(self, *keys: str) -> None:
        """Raise UserError if the table has another key."""
        for key in self.values:
            if key not in keys:
                raise UserError(f"{self.where}: unknown key {key!r}; {hint(key, keys)}")

    def text(self, key: str, default: str | None = None) -> str:
        """Return one line of text. Raises UserError for another value, or if it is missing without a default."""
        value = self.values.get(key, default)
        if not isinstance(value, str) or "\n" in value:
            what = "has no" if value is None else f"has a bad value {value!r} for"
            raise UserError(f'{self.where}: {what} {key!r}; fix: write {key} = "one line of text"')
        return value

    def table(self, key: str) -> _Table:
        """Return a sub-table, or an empty one if it is missing. Raises UserError if the value is not a table."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise UserError(f"{self.where}: bad value {value!r} for {key!r}; fix: write a table of values")
        return _Table(value, f"{self.where}, {key}")

    def layer(self, key: str) -> Layer:
        """Return tables of recipe values by task or scale."""
        tables = self.table(key)
        return {name: tables.table(name).values for name in tables.values}


def read_family(path: Path, distiller: str) -> list[Method]:
    """Read the methods of the file beside a distiller's module; `distiller` is the class's import path.

    Raises UserError that names the file and the key.
    """
    table = _read(path)
    table.only(*FAMILY_KEYS)
    model = table.text("recipe")
    root = Method(
        "", "", distiller, lambda: load_class(model), [table.layer("recipes")], lambda: load_class(distiller)
    )
    found: dict[str, Method] = {}

    def known(name: str) -> Method:
        if name and name not in found:
            raise UserError(f"{path}: a method extends the unknown method {name!r}; {hint(name, found)}")
        return found.get(name, root)

    resolve(_variants(table), known, lambda _, method: found.__setitem__(method.name, method))
    return list(found.values())


def read_variants(path: Path) -> list[Variant]:
    """Read a user's file of variants. Raises UserError that names the file and the key."""
    table = _read(path)
    table.only("methods")
    found = _variants(table)
    if not found:
        raise UserError(f"{path} describes no method; fix: add a table [methods.NAME]")
    for variant in found:
        if not variant.extends:
            raise UserError(f'{path}, methods, {variant.name}: has no "extends"; fix: write extends = "dmd2"')
    return found


def resolve(
    variants: Sequence[Variant],
    known: Callable[[str], Method],
    add: Callable[[Variant, Method], None],
) -> None:
    """Add each variant after the method that it extends, whatever their order in the files.

    `known` returns a method by its name, or raises UserError. Raises UserError if variants extend each other.
    """
    waiting = {variant.name: variant for variant in variants}
    if len(waiting) < len(variants):
        every = [variant.name for variant in variants]
        twice = next(name for name in every if every.count(name) > 1)
        origins = " and ".join(variant.origin for variant in variants if variant.name == twice)
        raise UserError(f"the method name {twice!r} is used twice: by {origins}; fix: rename one of them")
    for variant in variants:
        chain = [variant]
        while chain[-1].extends in waiting:
            parent = waiting[chain[-1].extends]
            if parent in chain:
                names = " -> ".join(one.name for one in [*chain, parent])
                raise UserError(
                    f"{parent.origin}: methods extend each other: {names}; fix: let one extend another method"
                )
            chain.append(parent)
        for one in reversed(chain):
            if waiting.pop(one.name, None) is not None:
                add(one, known(one.extends).varied(one))


def _variants(table: _Table) -> list[Variant]:
    methods = table.table("methods")
    found = []
    for name in methods.values:
        one = methods.table(name)
        one.only(*VARIANT_KEYS)
        published = one.table("published")
        found.append(
            Variant(
                name,
                one.text("summary"),
                table.where,
                one.text("extends", ""),
                one.table("switches").values,
                one.layer("on"),
                {task: published.text(task) for task in published.values},
            )
        )
    return found


def _read(path: Path) -> _Table:
    try:
        return _Table(tomllib.loads(read_text(path)), str(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not valid TOML: {error}; fix: correct the file") from None
