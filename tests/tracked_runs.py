"""Read back what trackers were sent, from the files in which they keep it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.training.tracker import PROJECT

Sent = list[tuple[str, int, float]]
"""Figures in the order of their arrival: name, iteration, value."""
BLOCK = 32768
"""Bytes of a block of a .wandb file, which has the format of LevelDB's logs."""


def from_tensorboard(trackers: Path, task: str, run: str) -> tuple[Sent, dict[str, str], bool]:
    """Return what event files show of a run: its figures, its configuration, and whether it has a picture."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    found = EventAccumulator(str(trackers / "tensorboard" / task / run), size_guidance={"tensors": 0}).Reload()
    tensors = {
        tag: [(event.step, make_ndarray(event.tensor_proto)) for event in found.Tensors(tag)]
        for tag in found.Tags()["tensors"]
    }
    ((_, (text,)),) = tensors.pop("configuration/text_summary")
    rows = (line.strip().partition(": ") for line in text.decode().splitlines())
    sent = [(name, step, float(value)) for name, points in tensors.items() for step, value in points]
    return sent, {key: value for key, _, value in rows}, "samples" in found.Tags()["images"]


def from_mlflow(trackers: Path, task: str, run: str) -> tuple[Sent, dict[str, str], bool]:
    """Return what MLflow has of a run, of which there must be one."""
    import mlflow

    client = mlflow.MlflowClient((trackers / "mlflow").as_uri())
    experiment = client.get_experiment_by_name(f"{PROJECT}-{task}")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == run
    history = [
        point for name in found.data.metrics for point in client.get_metric_history(found.info.run_id, name)
    ]
    pictures = [file.path for file in client.list_artifacts(found.info.run_id)]
    return [(one.key, one.step, one.value) for one in history], found.data.params, pictures == ["samples.png"]


def from_trackio(trackers: Path, task: str, run: str) -> tuple[Sent, dict[str, str], bool]:  # noqa: ARG001
    """Return what Trackio's database has of a run, of which there must be one."""
    from trackio.sqlite_storage import SQLiteStorage

    (only,) = SQLiteStorage.get_runs(f"{PROJECT}-{task}")
    assert only == run
    lines = SQLiteStorage.get_logs(f"{PROJECT}-{task}", run)
    figures = [(name, line["step"], value) for line in lines for name, value in line.items()]
    config = SQLiteStorage.get_run_config(f"{PROJECT}-{task}", run)
    sent = [one for one in figures if one[0] not in ("step", "timestamp", "samples")]
    return sent, {key: str(value) for key, value in config.items()}, any(one[0] == "samples" for one in figures)


def from_wandb(trackers: Path, task: str, run: str) -> tuple[Sent, dict[str, str], bool]:
    """Return what the only offline run of W&B has; figures of its summary are of the last iteration."""
    from wandb.proto import wandb_internal_pb2

    (file,) = (trackers / "wandb").glob("offline-run-*/*.wandb")
    sent: Sent = []
    config: dict[str, str] = {}
    summary: dict[str, Any] = {}
    picture = False
    for data in _entries(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("run"):
            assert (record.run.project, record.run.run_id, record.run.display_name) == (
                f"{PROJECT}-{task}",
                run,
                run,
            )
            config |= {one.key: str(json.loads(one.value_json)) for one in record.run.config.update}
        if record.HasField("history"):
            values = {
                "/".join(one.nested_key) or one.key: json.loads(one.value_json) for one in record.history.item
            }
            picture = picture or "samples/filenames" in values
            step = record.history.step.num
            sent += [(key, step, value) for key, value in values.items() if not key.startswith(("_", "samples/"))]
        for one in record.summary.update:
            summary["/".join(one.nested_key) or one.key] = json.loads(one.value_json)
    assert sent, f"{file} has {file.stat().st_size} bytes and no figures; its configuration is {config}"
    last = max(step for _, step, _ in sent)
    sent += [(key, last, value) for key, value in summary.items() if key.startswith("result/")]
    return sent, config, picture


READERS: dict[str, Callable[[Path, str, str], tuple[Sent, dict[str, str], bool]]] = {
    "tensorboard": from_tensorboard,
    "wandb": from_wandb,
    "trackio": from_trackio,
    "mlflow": from_mlflow,
}


def _entries(data: bytes) -> Iterator[bytes]:
    """Yield the entries of a .wandb file: behind a header, chunks that do not cross blocks."""
    at, entry = 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        entry += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole entry, or the last chunk of one
            yield entry
            entry = b""
