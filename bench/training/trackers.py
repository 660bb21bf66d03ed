"""The four trackers, through accelerate's classes: how each is kept local, opened again and sent pictures."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import UserError, unknown
from bench.core.files import whole_file
from bench.core.locks import locked
from bench.training.tracker import Line, Point, Tracker, complete_until

FOLDER = "trackers"
"""Name of the folder, inside the folder of the runs, where trackers keep what they are sent."""
LOCK_SECONDS = 60.0
"""Seconds to wait while other jobs open their runs."""


class TensorBoard(Tracker):
    """Event files. When a run is resumed, what is ahead of its checkpoint is removed from them."""

    name = "tensorboard"
    look = "tensorboard --logdir {folder}"

    def open(self, lines: Sequence[Line]) -> None:
        from accelerate.tracking import TensorBoardTracker

        written = self._written()
        kept = complete_until(lines, written)
        self._cut_back(kept)
        self._points = {point for point in written if point[1] <= kept}
        # An open TensorBoard hides what it has read already and is no longer there.
        self.tracker = TensorBoardTracker(self.run.name, self._place, purge_step=kept + 1)
        self.tracker.start()
        if not self._points:
            rows = "".join(f"    {name}: {value}\n" for name, value in self.run.configuration.items())
            self.tracker.log({"configuration": rows}, step=0)

    def has(self, name: str, step: int) -> bool:
        return (name, step) in self._points

    def finish(self, results: Mapping[str, float], picture: Path | None, step: int) -> None:
        from torch.utils.tensorboard.summary import hparams

        if any(self.has(f"result/{name}", step) for name in results):
            return
        super().finish(results, picture, step)
        for part in hparams(
            dict(self.run.configuration), {f"result/{name}": value for name, value in results.items()}
        ):
            self.tracker.writer.file_writer.add_summary(part, step)

    @property
    def _place(self) -> Path:
        return self.folder / self.run.task

    def _written(self) -> set[Point]:
        """Return the figures in the event files."""
        if not self._files():
            return set()
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(str(self._place / self.run.name), size_guidance={"tensors": 0}).Reload()
        return {(tag, event.step) for tag in found.Tags()["tensors"] for event in found.Tensors(tag)}

    def _cut_back(self, iteration: int) -> None:
        """Remove the events of later iterations."""
        from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
        from tensorboard.summary.writer.record_writer import RecordWriter

        for path in self._files():
            events = list(LegacyEventFileLoader(str(path)).Load())
            kept = [event for event in events if event.step <= iteration]
            if len(kept) < len(events):
                with whole_file(path) as temporary, temporary.open("wb") as file:
                    writer = RecordWriter(file)
                    for event in kept:
                        writer.write(event.SerializeToString())

    def _files(self) -> list[Path]:
        return sorted((self._place / self.run.name).glob("events.out.tfevents.*"))

    def _options(self) -> dict[str, Any]:
        return {"new_style": True, "double_precision": True}  # 64 bits, as in the log

    def _send_picture(self, picture: Path, step: int) -> None:
        self.tracker.log_images({"samples": read_picture(picture)[None]}, step=step, dataformats="NHWC")


class WeightsAndBiases(Tracker):
    """W&B, offline. An offline run cannot be continued: a resumed one is written anew, whole, from the log."""

    name = "wandb"
    look = "wandb sync {folder}/offline-run-*"

    @classmethod
    def local(cls, folder: Path) -> dict[str, str]:
        mode = {"WANDB_MODE": "offline"}
        if os.environ.get("WANDB_MODE", "offline") == "offline":
            mode["WANDB_ERROR_REPORTING"] = "false"
        return {**mode, "WANDB_DIR": str(folder.parent), "WANDB_CONSOLE": "off", "WANDB_SILENT": "true"}

    @classmethod
    def elsewhere(cls) -> str:
        mode = os.environ.get("WANDB_MODE", "offline")
        return "" if mode == "offline" else f"WANDB_MODE={mode}"

    def open(self, lines: Sequence[Line]) -> None:  # noqa: ARG002
        from accelerate.tracking import WandBTracker

        run = self.run
        offline = os.environ["WANDB_MODE"] == "offline"
        self.tracker = WandBTracker(
            run.project,
            name=run.name,
            id=run.name,
            resume=None if offline else "allow",
            config=dict(run.configuration),
        )
        self.tracker.start()
        opened = self.tracker.run
        self._first = opened.starting_step if opened.resumed else 0
        if offline:
            own = Path(opened.settings.sync_dir)
            for old in own.parent.glob(f"offline-run-*-{run.name}"):
                if old != own:
                    shutil.rmtree(old, ignore_errors=True)

    def has(self, name: str, step: int) -> bool:  # noqa: ARG002
        return step < self._first

    def finish(self, results: Mapping[str, float], picture: Path | None, step: int) -> None:
        self.tracker.run.summary.update({f"result/{name}": value for name, value in results.items()})
        if picture is not None:
            self._send_picture(picture, step)

    def _send_picture(self, picture: Path, step: int) -> None:
        self.tracker.log_images({"samples": [read_picture(picture)]}, step=max(step, self._first))

    def close(self) -> None:
        import wandb

        super().close()
        wandb.teardown()  # ends the program that writes the file: `finish` alone may return before it has


class Trackio(Tracker):
    """Trackio, in a folder."""

    name = "trackio"
    look = "TRACKIO_DIR={folder} trackio show"

    @classmethod
    def local(cls, folder: Path) -> dict[str, str]:
        return {"TRACKIO_DIR": str(folder), "HF_HUB_DISABLE_TELEMETRY": "1"}

    @classmethod
    def elsewhere(cls) -> str:
        return _set("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")

    def open(self, lines: Sequence[Line]) -> None:  # noqa: ARG002
        from accelerate.tracking import TrackioTracker

        run = self.run
        self._last, self._points = 0, set[Point]()
        self.tracker = TrackioTracker(
            run.project, name=run.name, resume="allow", config=dict(run.configuration), embed=False
        )
        if self.elsewhere():
            self.tracker.start()
            self._last = getattr(self.tracker.run, "_next_step", 1) - 1
            return
        from trackio.sqlite_storage import SQLiteStorage

        found = SQLiteStorage.get_logs(run.project, run.name)
        self._points = {(name, int(line["step"])) for line in found for name in line}
        self.tracker.start()

    def has(self, name: str, step: int) -> bool:
        return step <= self._last or (name, step) in self._points

    def _send_picture(self, picture: Path, step: int) -> None:
        import trackio

        if not self.has("samples", step):
            self.tracker.log({"samples": trackio.Image(read_picture(picture))}, step=step)


class MLflow(Tracker):
    """MLflow, in a folder, which jobs can write to side by side. A resumed run goes on in the run of its name."""

    name = "mlflow"
    look = "MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {folder}"

    @classmethod
    def local(cls, folder: Path) -> dict[str, str]:
        return {
            "MLFLOW_TRACKING_URI": folder.as_uri(),
            "MLFLOW_ALLOW_FILE_STORE": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    @classmethod
    def elsewhere(cls) -> str:
        return _set("MLFLOW_TRACKING_URI")

    def open(self, lines: Sequence[Line]) -> None:  # noqa: ARG002
        import mlflow
        from accelerate.tracking import MLflowTracker

        with locked(self.folder.parent / ".mlflow.lock", LOCK_SECONDS):  # or two jobs would make the same project
            run, client = self.run, mlflow.MlflowClient()
            experiment = client.get_experiment_by_name(os.environ.get("MLFLOW_EXPERIMENT_NAME", run.project))
            named = f"attributes.run_name = '{run.name}'"
            found = [] if experiment is None else client.search_runs([experiment.experiment_id], named)
            run_id = found[0].info.run_id if found else None
            self.tracker = MLflowTracker(run.project, run_id=run_id, run_name=run.name)
            self.tracker.start()
        self._points = {
            (point.key, point.step)
            for before in found[:1]
            for name in before.data.metrics
            for point in client.get_metric_history(before.info.run_id, name)
        }
        self.tracker.store_init_configuration(dict(run.configuration))

    def has(self, name: str, step: int) -> bool:
        return (name, step) in self._points

    def _send_picture(self, picture: Path, step: int) -> None:  # noqa: ARG002
        self.tracker.log_artifact(str(picture))


TRACKERS: dict[str, type[Tracker]] = {kind.name: kind for kind in (TensorBoard, WeightsAndBiases, Trackio, MLflow)}


def is_installed(name: str) -> bool:
    """Say whether a tracker's package is installed, without importing it."""
    return importlib.util.find_spec(name) is not None


def require_trackers(names: Iterable[str]) -> None:
    """Raise UserError for the name of no tracker, and for one that is not installed."""
    for name in names:
        if name not in TRACKERS:
            raise unknown("tracker", name, TRACKERS)
        if not is_installed(name):
            raise UserError(
                f"--track {name} needs the package {name}, which is not installed; "
                f'fix: pip install "distillation-bench[{name}]"'
            )


def tracker_lines(names: Iterable[str], runs: Path) -> list[str]:
    """Say of each tracker how to look at what it is sent, or which setting of the user sends it elsewhere."""
    lines = []
    for name in names:
        kind = TRACKERS[name]
        elsewhere = kind.elsewhere()
        place = f"as {elsewhere} says" if elsewhere else kind.look.format(folder=runs / FOLDER / name)
        lines.append(f"tracked by {name}: {place}")
    return lines


def keep_local(kind: type[Tracker], folder: Path) -> None:
    """Keep a tracker on this machine, unless the user's environment says otherwise. Call it before an import."""
    for name, value in kind.local(folder.absolute()).items():
        os.environ.setdefault(name, value)


def read_picture(path: Path) -> Any:
    """Read a PNG as a uint8 array (height, width, 3)."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _set(*names: str) -> str:
    """Return the first of these variables that the environment sets, or an empty text."""
    return next((f"{name}={os.environ[name]}" for name in names if os.environ.get(name)), "")
