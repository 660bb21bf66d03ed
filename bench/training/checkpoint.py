"""Checkpoints: whole files from which training goes on with the same bits."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from bench.core.distributed import from_main
from bench.core.errors import UserError, counted, first_line
from bench.core.files import folder_sha256, regular_file, whole_file, whole_folder
from bench.core.run_folder import CHECKPOINTS, STUDENT, checkpoints
from bench.training.best import Best, read_best
from bench.training.distiller import Distiller, Player
from bench.training.sharding import optimizer_shares, shares_of, whole

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
    """Write a checkpoint so that it appears whole, then drop all but the newest few.

    All processes must ask; the first writes. The file does not depend on how many they are, nor on whether they
    share the networks.
    """
    content = _content(distiller, state)
    if PartialState().is_main_process:
        _write(folder, content, state.iteration)


def _content(distiller: Distiller[Any], state: TrainingState) -> dict[str, Any]:
    """What a checkpoint holds, in the first process."""
    players = {
        name: {
            "module": player.module.state_dict(),
            "optimizer": player.optimizer.state_dict(),
            "updates": player.updates,
        }
        for name, player in distiller.players.items()
    }
    content: dict[str, Any] = whole({**vars(state), "players": players}, PartialState().is_main_process)
    return content


def _write(folder: Path, content: dict[str, Any], iteration: int) -> None:
    with whole_file(folder / f"{iteration:07d}.pt") as temporary:
        torch.save(content, temporary)
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink()


def keep_if_best(
    folder: Path,
    distiller: Distiller[Any],
    state: TrainingState,
    fd: float,
    fd_samples: int,
    save_student: Callable[[Path], None],
) -> None:
    """Replace the `best` folder, which appears whole, if no student before had so low an FD.

    `fd_samples`: generated images behind it. All processes must ask; the first writes.
    """
    before = from_main(lambda: read_best(folder))
    if before is not None and fd >= before.fd:
        return
    content = _content(distiller, state)
    if not PartialState().is_main_process:
        return
    with whole_folder(folder) as temporary:
        _write(temporary / CHECKPOINTS, content, state.iteration)
        save_student(temporary / STUDENT)
        Best(state.iteration, fd, folder_sha256(temporary / STUDENT), fd_samples).write(temporary)


def restore_checkpoint(folder: Path, distiller: Distiller[Any]) -> TrainingState | None:
    """Load the newest checkpoint into a distiller; None if there is none.

    Read with weights_only, so nothing in the file is executed. Raises UserError that names a damaged file.
    """
    found = checkpoints(folder)
    if not found:
        return None
    path = found[-1]
    try:
        content = _read(path, distiller)
        players = content.pop("players")
        if odd := sorted(players.keys() ^ distiller.players.keys()):
            raise ValueError(f"the networks {', '.join(odd)} are missing there, or are none of the method's")
        for name, player in distiller.players.items():
            player.module.load_state_dict(shares_of(players[name]["module"], player.module))
            player.optimizer.load_state_dict(optimizer_shares(players[name]["optimizer"], player.optimizer))
            player.updates = players[name]["updates"]
            _check_optimizer(name, player)
        state = TrainingState(**content)
        if state.iteration != int(path.stem):
            raise ValueError(f"it was made after {state.iteration} iterations, and its name says another number")
        _check_average(state, distiller)
        return state
    except Exception as error:  # zip, pickle, key and shape errors: all mean that this file cannot be used
        back = f"from {found[-2].name}" if len(found) > 1 else "from the start"
        raise UserError(
            f"checkpoint {path} is damaged ({type(error).__name__}: {first_line(error)}); "
            f"delete it, and the same command goes on {back}: rm {shlex.quote(str(path))}"
        ) from None


def _check_optimizer(name: str, player: Player) -> None:
    """Raise ValueError unless a network that was stepped has its optimizer's averages: it goes on by them."""
    wanted = {"step", "exp_avg", "exp_avg_sq"}
    state = {weight: found for weight, found in player.optimizer.state.items() if found}
    if player.updates and not state:
        raise ValueError(f"it lacks what the optimizer of {name} kept over {counted(player.updates, 'step')}")
    for weight, found in state.items():
        averages = (found.get("exp_avg"), found.get("exp_avg_sq"))
        if not wanted <= found.keys() or any(average.shape != weight.shape for average in averages):
            raise ValueError(f"what the optimizer of {name} kept is incomplete or of another shape")


def _check_average(state: TrainingState, distiller: Distiller[Any]) -> None:
    """Raise ValueError unless a checkpoint has the EMA that its recipe asks for: the result would be another."""
    wanted = distiller.recipe.ema_decay is not None and distiller.generator.updates > 0
    if wanted != (state.average is not None):
        raise ValueError(
            "it lacks the EMA that its recipe asks for" if wanted else "its recipe has no EMA, and it has"
        )
    if state.average is not None and not distiller.sharded:
        networks = distiller.generator.module.state_dict()
        wrong = set(state.average.keys() ^ networks.keys())
        wrong |= {name for name in networks.keys() - wrong if networks[name].shape != state.average[name].shape}
        if wrong:
            raise ValueError(
                f"the EMA of {len(wrong)} weights is missing or of another shape, such as {min(wrong)}"
            )


def _read(path: Path, distiller: Distiller[Any]) -> dict[str, Any]:
    """Read a checkpoint as tensors alone; processes that share networks map it, since each needs a part."""
    content: dict[str, Any] = torch.load(
        regular_file(path), map_location="cpu", weights_only=True, mmap=distiller.sharded
    )
    return content


def start_from(run: Path, distiller: Distiller[Any]) -> Path:
    """Give a distiller's networks the weights of another run's newest checkpoint; return that checkpoint.

    What the other run had not keeps its own: a discriminator's head, or the critic, where that run was a
    regression. Raises UserError if anything else is missing or does not fit.
    """
    found = checkpoints(run / CHECKPOINTS)
    if not found:
        raise UserError(f"init_from: {run} holds no checkpoints; name the folder of a finished run")
    path = found[-1]
    try:
        players = _read(path, distiller)["players"]
        for name, player in distiller.players.items():
            if name not in players and name != "generator":
                continue
            state = shares_of(players[name]["module"], player.module)
            missing, unexpected = player.module.load_state_dict(state, strict=False)
            wrong = [*unexpected, *(key for key in missing if not key.startswith("heads."))]
            if wrong:
                raise ValueError(f"{len(wrong)} weights do not fit, such as {wrong[0]}")
    except Exception as error:  # zip, pickle, key and shape errors: all mean that this file cannot be used
        raise UserError(
            f"init_from: {path} is damaged or of other networks than {distiller.recipe.__class__.__name__} has "
            f"here ({type(error).__name__}: {first_line(error)})"
        ) from None
    return path
