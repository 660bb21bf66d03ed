"""How the texts of options are read: names, numbers, values of recipes, and the files of `--config`."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import UserError, hint, unknown
from bench.core.files import read_text
from bench.core.run_folder import KEPT_KINDS

_FIELDS = {"set": "overrides"}
"""The parameter that a key fills, where the two names differ."""


def parse_overrides(texts: Iterable[str]) -> dict[str, Any]:
    """Read `key=value` pairs: numbers, true, false, none and [lists]; anything else is a string."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        name = key.strip().replace("-", "_")
        if not equals or not name:
            raise UserError(f"--set takes key=value, not {text!r}; fix: write it as --set iterations=1000")
        if name in found:
            raise UserError(f"--set gives {name!r} twice; fix: give it once")
        found[name] = _value(name, value.strip())
    return found


def parse_grid(texts: Iterable[str]) -> dict[str, list[Any]]:
    """Read `key=value,value` pairs; a value is read as that of --set. Raises UserError."""
    found: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        name = key.strip().replace("-", "_")
        if not equals or not name or not values.strip():
            raise UserError(f"--grid takes key=value,value, not {text!r}; fix: write it as --grid lr=3e-4,1e-3")
        if name in found:
            raise UserError(f"--grid gives {name!r} twice; fix: give it once, with all values")
        listed = [_value(name, one) for one in _parts(values)]
        found[name] = [one for number, one in enumerate(listed) if one not in listed[:number]]
    return found


def _parts(text: str) -> list[str]:
    """Split at the commas that are in no list: `[0,1],[0.2,0.5]` has two parts."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _value(key: str, text: str) -> Any:
    if text.lower() in ("none", "null"):
        return None
    try:
        return json.loads(text.lower() if text.lower() in ("true", "false") else text)
    except RecursionError:
        raise UserError(
            f"--set {key} is nested too deeply: {text[:20]}...; fix: give a number, a word or a list"
        ) from None
    except ValueError:
        return text


def parse_keep(texts: Sequence[str]) -> list[str]:
    """Read what is kept, with commas or by repeating the option. Raises UserError."""
    kinds = optional_names(texts, "--keep")
    for kind in kinds:
        if kind not in KEPT_KINDS:
            raise unknown("kind of file for --keep", kind, KEPT_KINDS)
    return kinds


def parse_seeds(text: str) -> list[int]:
    """Read `0,1,2`, without doubles. Raises UserError."""
    try:
        seeds = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UserError(f"--seed takes whole numbers with commas, not {text!r}; fix: --seed 0,1,2") from None
    if not seeds or min(seeds) < 0 or max(seeds) >= 2**31:
        raise UserError(f"--seed takes numbers from 0 to 2147483647, not {text!r}; fix: --seed 0,1,2")
    return list(dict.fromkeys(seeds))


def parse_names(texts: Iterable[str], option: str = "--method") -> list[str]:
    """Read names given with commas or by repeating the option, without doubles. Raises UserError."""
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f"{option} takes at least one name; fix: give one that bench list shows")
    return list(dict.fromkeys(names))


def optional_names(texts: Sequence[str], option: str = "--method") -> list[str]:
    """Read names as `parse_names` does; none if the option is not given."""
    return parse_names(texts, option) if texts else []


def parse_weights(texts: Iterable[str]) -> dict[str, Path]:
    """Read `name=path` pairs of --weights. Raises UserError."""
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise UserError(f"--weights takes NAME=PATH, not {text!r}; fix: bench weights list shows the names")
        if name in found:
            raise UserError(f"--weights gives {name!r} twice; fix: give it once")
        found[name] = Path(path)
    return found


def config_defaults(path: Path, options: set[str]) -> dict[str, Any]:
    """Read a TOML file as option values: keys are the options' names, and [set] is a table of recipe values.

    Raises UserError that names the file if it is unreadable, no TOML, or has a key that is none of `options`.
    """
    try:
        content = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is no TOML file: {error}; fix: see the run.toml in the folder of a run") from None
    found: dict[str, Any] = {}
    for key, value in content.items():
        name = _FIELDS.get(key, key.replace("-", "_"))
        if name not in options - {"config"}:
            raise UserError(
                f"{path}: unknown key {key!r}; {hint(key, sorted(options - {'config', 'overrides'} | {'set'}))}"
            )
        if key == "set":
            if not isinstance(value, dict):
                raise UserError(f"{path}: set is {value!r}; fix: make it a table: [set], then key = value")
            value = [f"{one}={part if isinstance(part, str) else json.dumps(part)}" for one, part in value.items()]
        elif key == "seed":
            value = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        elif name in ("method", "plugin", "track", "keep") and not isinstance(value, list):
            value = [value]
        found[name] = value
    return found
