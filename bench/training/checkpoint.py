"""Checkpoints: files from which training continues bit by bit as if it had not been interrupted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from bench.core.distributed import from_main
from bench.core.errors import UserError, counted, first_line
from bench.core.escape import shell_path
from bench.core.files import folder_sha256, regular_file, whole_file, whole_folder
from bench.core.run_folder import CHECKPOINTS, STUDENT, checkpoints
from bench.training.best import Best, read_best
from bench.training.distiller import STUDENT as STUDENT_NETWORK
from bench.training.distiller import Distiller
from bench.training.sharding import optimizer_shares, shares_of, whole
from bench.training.trained_model import TrainedModel

KEPT = 2
"""Number of newest checkpoints to keep. The second one saves the run if the newest is damaged."""


@dataclass(frozen=True)
class TrainingState:
    """The progress of a training without its networks. Random numbers and data order follow from the iteration."""

    iteration: int
    """Number of finished iterations."""
    seconds: float
    """Training time so far, summed over all attempts."""
    teacher_sha256: str
    """Hash of the teacher that the run started with."""
    average: dict[str, torch.Tensor] | None
    """The student's EMA weights, if the recipe has them."""
    passes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Forward and backward passes so far, of single images through each network."""
    alarms: dict[str, Any] = field(default_factory=dict)
    """The state of the alarms' monitor; empty in checkpoints from before there were alarms."""


def save_checkpoint(folder: Path, distiller: Distiller[Any], state: TrainingState) -> None:
    """Write a checkpoint, which appears whole, then delete all but the newest few.

    All processes must call this; the first one writes. The file depends neither on the number of processes nor on
    whether they shard the networks.
    """
    content = _content(distiller, state)
    if PartialState().is_main_process:
        _write(folder, content, state.iteration)


def _content(distiller: Distiller[Any], state: TrainingState) -> dict[str, Any]:
    """Collect the content of a checkpoint; only the first process gets the tensors."""
    models = {
        name: {
            "network": model.state_dict(),
            "optimizer": model.optimizer.state_dict(),
            "updates": model.updates,
        }
        for name, model in distiller.models.items()
    }
    targets = {name: target.state_dict() for name, target in distiller.targets.items()}
    saved = {**vars(state), "models": models, "targets": targets, "state": distiller.state}
    content: dict[str, Any] = whole(saved, PartialState().is_main_process)
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
    """Replace the `best` folder, which appears whole, if this student has the lowest FD so far.

    `fd_samples` is the number of generated images that `fd` was measured on. All processes must call this; the
    first one writes.
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
    """Load the newest checkpoint into a distiller and return its state, or None if there is no checkpoint.

    The file is read with weights_only, so nothing in it is executed. Raises UserError that names a damaged file.
    """
    found = checkpoints(folder)
    if not found:
        return None
    path = found[-1]
    try:
        content = _read(path, distiller)
        models, targets = content.pop("models"), content.pop("targets")
        state_tensors = content.pop("state", {})  # none in checkpoints from before there was add_state
        parts = (models, distiller.models), (targets, distiller.targets), (state_tensors, distiller.state)
        if odd := sorted(name for saved, own in parts for name in saved.keys() ^ own.keys()):
            raise ValueError(f"the parts {', '.join(odd)} are missing in it, or the method does not have them")
        for name, model in distiller.models.items():
            model.load_state_dict(shares_of(models[name]["network"], model.network))
            model.optimizer.load_state_dict(optimizer_shares(models[name]["optimizer"], model.optimizer))
            model.updates = models[name]["updates"]
            _check_optimizer(name, model)
        for name, target in distiller.targets.items():
            target.load_state_dict(shares_of(targets[name], target.network))
        for name, tensor in distiller.state.items():
            if state_tensors[name].shape != tensor.shape:
                raise ValueError(f"the state {name} has another shape")
            tensor.copy_(state_tensors[name])
        state = TrainingState(**content)
        if state.iteration != int(path.stem):
            raise ValueError(f"it was written after {state.iteration} iterations, but its name has another number")
        _check_average(state, distiller)
        return state
    except (MemoryError, torch.OutOfMemoryError):
        raise  # of the machine, and not of the file: its hours of training are not to be deleted
    except Exception as error:  # zip, pickle, key and shape errors: all mean that this file cannot be used
        restart = f"from {found[-2].name}" if len(found) > 1 else "from the start"
        raise UserError(
            f"checkpoint {path} is damaged ({type(error).__name__}: {first_line(error)}); "
            f"delete it, and the same command continues {restart}; fix: rm {shell_path(path)}"
        ) from None


def _check_optimizer(name: str, model: TrainedModel) -> None:
    """Raise ValueError unless a network that was trained has its Adam moments, from which training continues.

    Optimisers of other kinds are not checked: they read what they wrote themselves.
    """
    if not isinstance(getattr(model.optimizer, "optimizer", model.optimizer), torch.optim.Adam):
        return
    wanted = {"step", "exp_avg", "exp_avg_sq"}
    state = {weight: found for weight, found in model.optimizer.state.items() if found}
    if model.updates and not state:
        raise ValueError(f"the optimizer state of {name} after {counted(model.updates, 'step')} is missing")
    for weight, found in state.items():
        averages = (found.get("exp_avg"), found.get("exp_avg_sq"))
        if not wanted <= found.keys() or any(average.shape != weight.shape for average in averages):
            raise ValueError(f"the optimizer state of {name} is incomplete or has another shape")


def _check_average(state: TrainingState, distiller: Distiller[Any]) -> None:
    """Raise ValueError unless a checkpoint has an EMA exactly if its recipe has one."""
    wanted = distiller.recipe.ema_decay is not None and distiller.generator.updates > 0
    if wanted != (state.average is not None):
        raise ValueError(
            "the EMA of its recipe is missing" if wanted else "it contains an EMA, but its recipe has none"
        )
    if state.average is not None and not distiller.sharded:
        networks = distiller.generator.state_dict()
        wrong = set(state.average.keys() ^ networks.keys())
        wrong |= {name for name in networks.keys() - wrong if networks[name].shape != state.average[name].shape}
        if wrong:
            raise ValueError(
                f"the EMA of {len(wrong)} weights is missing or has another shape, such as {min(wrong)}"
            )


def _read(path: Path, distiller: Distiller[Any]) -> dict[str, Any]:
    """Read a checkpoint, tensors only. Processes that shard the networks map the file, since each reads a part."""
    content: dict[str, Any] = torch.load(
        regular_file(path), map_location="cpu", weights_only=True, mmap=distiller.sharded
    )
    return content


def start_from(run: Path, distiller: Distiller[Any]) -> Path:
    """Load the weights of another run's newest checkpoint into a distiller's networks; return its path.

    Networks and weights that the other run did not have keep their initial values: the head of a discriminator, or
    the critic if that run was a regression. Raises UserError if anything else is missing or does not fit.
    """
    found = checkpoints(run / CHECKPOINTS)
    if not found:
        raise UserError(f"init_from: {run} contains no checkpoints; fix: name the folder of a finished run")
    path = found[-1]
    try:
        models = _read(path, distiller)["models"]
        for name, model in distiller.models.items():
            if name not in models and name != STUDENT_NETWORK:
                continue
            state = shares_of(models[name]["network"], model.network)
            missing, unexpected = model.load_state_dict(state, strict=False)
            wrong = [*unexpected, *(key for key in missing if not key.startswith(distiller.fresh_weights))]
            if wrong:
                raise ValueError(f"{len(wrong)} weights do not fit, such as {wrong[0]}")
        for target in distiller.targets.values():
            target.copy_model()
    except Exception as error:  # zip, pickle, key and shape errors: all mean that this file cannot be used
        raise UserError(
            f"init_from: {path} is damaged, or its networks do not fit {distiller.recipe.__class__.__name__} on "
            f"this task ({type(error).__name__}: {first_line(error)}); "
            "fix: start from a run of the same kind of network"
        ) from None
    return path


def refuse_another_teacher(folder: Path, began: str, now: str) -> None:
    """Raise UserError if the teacher has changed since a run started."""
    if began != now:
        raise UserError(
            f"the run in {folder} started with another teacher (sha256 {began[:12]}, now {now[:12]}); "
            "fix: prepare that teacher again to continue; or, to lose this training and start again, "
            f"rm -r {shell_path(folder)}"
        )
