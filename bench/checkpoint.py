"""Checkpoints: whole files from which training goes on with the same bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.best import Best, read_best
from methods.base import Distiller
from tasks.errors import UserError, first_line
from tasks.files import folder_sha256, whole_file, whole_folder

KEPT = 2
"""Newest checkpoints kept: one more than needed, so that a damaged one costs time and not the run."""


@dataclass(frozen=True)
class TrainingState:
    """Where training is, beside the networks. Random numbers and data order follow from the iteration."""

    iteration: int
    """Iterations done."""
    seconds: float
    """Training time so far, over all attempts."""
    teacher_sha256: str
    """The teacher that the run began with."""
    average: dict[str, torch.Tensor] | None
    """The student's EMA weights, if the recipe has them."""


def save_checkpoint(folder: Path, distiller: Distiller[Any], state: TrainingState) -> None:
    """Write a checkpoint so that it appears whole, then drop all but the newest few."""
    content: dict[str, Any] = {**vars(state), "players": {}}
    for name, player in distiller.players.items():
        content["players"][name] = {
            "module": player.module.state_dict(),
            "optimizer": player.optimizer.state_dict(),
            "updates": player.updates,
        }
    with whole_file(folder / f"{state.iteration:07d}.pt") as temporary:
        torch.save(content, temporary)
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink()


def keep_if_best(
    folder: Path, distiller: Distiller[Any], state: TrainingState, fd: float, save_student: Callable[[Path], None]
) -> None:
    """Replace the `best` folder, which appears whole, if no student before had so low an FD."""
    before = read_best(folder)
    if before is not None and fd >= before.fd:
        return
    with whole_folder(folder) as temporary:
        save_checkpoint(temporary / "checkpoints", distiller, state)
        save_student(temporary / "student")
        Best(state.iteration, fd, folder_sha256(temporary / "student")).write(temporary)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted((path for path in folder.glob("*.pt") if path.stem.isdigit()), key=lambda path: int(path.stem))


def restore_checkpoint(folder: Path, distiller: Distiller[Any]) -> TrainingState | None:
    """Load the newest checkpoint into a distiller; None if there is none.

    Read with weights_only, so nothing in the file is executed. Raises UserError that names a damaged file.
    """
    found = checkpoints(folder)
    if not found:
        return None
    path = found[-1]
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        players = content.pop("players")
        for name, player in distiller.players.items():
            player.module.load_state_dict(players[name]["module"])
            player.optimizer.load_state_dict(players[name]["optimizer"])
            player.updates = players[name]["updates"]
        return TrainingState(**content)
    except Exception as error:  # zip, pickle, key and shape errors: all mean that this file cannot be used
        back = f"from {found[-2].name}" if len(found) > 1 else "from the start"
        raise UserError(
            f"checkpoint {path} is damaged ({type(error).__name__}: {first_line(error)}); "
            f"delete it, and the same command goes on {back}: rm {path}"
        ) from None


def start_from(run: Path, distiller: Distiller[Any]) -> Path:
    """Give a distiller's networks the weights of another run's newest checkpoint; return that checkpoint.

    What the other run had not keeps its own: a discriminator's head, or the critic, where that run was a
    regression. Raises UserError if anything else is missing or does not fit.
    """
    found = checkpoints(run / "checkpoints")
    if not found:
        raise UserError(f"init_from: {run} holds no checkpoints; name the folder of a finished run")
    path = found[-1]
    try:
        players = torch.load(path, map_location="cpu", weights_only=True)["players"]
        for name, player in distiller.players.items():
            if name not in players and name != "generator":
                continue
            missing, unexpected = player.module.load_state_dict(players[name]["module"], strict=False)
            wrong = [*unexpected, *(key for key in missing if not key.startswith("head."))]
            if wrong:
                raise ValueError(f"{len(wrong)} weights do not fit, such as {wrong[0]}")
    except Exception as error:  # zip, pickle, key and shape errors: all mean that this file cannot be used
        raise UserError(
            f"init_from: {path} is damaged or of other networks than {distiller.recipe.__class__.__name__} has "
            f"here ({type(error).__name__}: {first_line(error)})"
        ) from None
    return path
