"""What a plug-in's import may not change, since all other code of the process would follow without a word."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.core.errors import UserError

AT_IMPORT: Mapping[str, Any] = {
    "set_default_dtype": "torch.float32",
    "set_default_device": "cpu",
    "set_grad_enabled": True,
    "use_deterministic_algorithms": False,
}
"""The state that torch has when it is imported, by the function that changes it; dtype and device as text."""


@contextlib.contextmanager
def unchanged_process(who: str) -> Iterator[None]:
    """Run foreign code inside. Raises UserError if it changed torch's state or the working folder; undoes that.

    The number of torch's threads is compared if torch was there before.
    """
    folder, before = _folder(), _torch_state()
    yield
    try:
        if (now := _folder()) != folder:
            raise _changed(who, "os.chdir", folder, now)
        for name, new in _differing(before).items():
            raise _changed(who, f"torch.{name}", before[name], new)
    finally:
        if folder and _folder() != folder:
            os.chdir(folder)
        _restore(before)


def _folder() -> Path | None:
    """Return the working folder, or None if somebody has deleted it."""
    with contextlib.suppress(FileNotFoundError):
        return Path.cwd()
    return None


def _torch_state() -> dict[str, Any]:
    """Return torch's state, or that at its import if nobody has imported it yet."""
    if sys.modules.get("torch") is None:
        return dict(AT_IMPORT)
    import torch

    return {
        "set_default_dtype": str(torch.get_default_dtype()),
        "set_default_device": str(torch.get_default_device()),
        "set_grad_enabled": torch.is_grad_enabled(),
        "use_deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "set_num_threads": torch.get_num_threads(),
    }


def _differing(before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of torch's state that are other ones now, as they are now."""
    return {name: new for name, new in _torch_state().items() if name in before and new != before[name]}


def _restore(before: Mapping[str, Any]) -> None:
    """Give torch the state that it had, where that is another one now."""
    for name in _differing(before):
        import torch

        change: Callable[[Any], object] = getattr(torch, name)
        was = before[name]
        change(getattr(torch, was.removeprefix("torch.")) if name == "set_default_dtype" else was)


def _changed(who: str, how: str, old: object, new: object) -> UserError:
    return UserError(
        f"{who} changes all of this process where it is imported, by {how}: {old} is {new} now; "
        "fix: take that line out, or have a function of yours do it for as long as it runs"
    )
