"""The teacher of a text-to-image task: a pipeline of the kind that the task is for, pinned by its hash."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from bench.core.errors import UserError, listed
from bench.core.files import file_sha256, folder_sha256
from bench.core.path_names import path_name
from bench.core.progress import Progress
from bench.models.backbones.text import TextPipeline
from bench.models.text.pipelines import load_pipeline, named_pipeline, pipeline_class, pipeline_family
from bench.models.weights.folders import unknown_options
from bench.task.pinned import PinnedAsset
from tasks.text.baselines import TextBaseline
from tasks.text.task import TextTask


def pinned_teacher(task: TextTask, named: Path, download: bool, progress: Progress) -> PinnedAsset:
    """Return the asset of the teacher that the user named, with a note of all that is odd about it.

    Raises UserError if it is damaged, or of another kind than the task's.
    """
    path = named_pipeline(named, download, partial(refuse_another_class, task, named))
    pipeline = load_pipeline(path, download)
    refuse_another_guidance(task, named, pipeline)
    pipeline.denoiser()  # check that its noise schedule is known
    for line in unknown_options(path):
        progress.note(line)
    found, own = sum(one.numel() for one in pipeline.network.parameters()), task.network_parameters
    if own is not None and found != own:
        progress.note(
            f"the teacher {named} has {found:,} parameters; the recipes and samplers of {task.name} are those of "
            f"{task.teacher_repository}, which has {own:,}"
        )
    return PinnedAsset(str(path), teacher_sha256(path), shown(named))


def teacher_sha256(path: Path) -> str:
    """Return the hash of a pipeline's file, or of the files of its folder that are read."""
    return file_sha256(path) if path.is_file() else folder_sha256(path, pipeline_family(path).pipeline_files())


def refuse_another_class(task: TextTask, named: Path, path: Path) -> None:
    """Raise UserError if the pipeline at `path`, as the user `named` it, is of another class."""
    wanted = task.teacher_pipelines
    if wanted and (found := pipeline_class(path)) not in wanted:
        own = f"the teacher of task {task.name!r} is a {' or '.join(wanted)}"
        raise _another(task, f"{named} is a {found}, but {own}")


def refuse_another_guidance(task: TextTask, named: Path, pipeline: TextPipeline) -> None:
    """Raise UserError unless the network takes the scale of its guidance if the teacher's samplers give one.

    FLUX.1-schnell and FLUX.1-dev are of one class, as are LCM's students and their teachers.
    """
    takes = pipeline.family.takes_guidance(pipeline.network)
    found = (task.pair_sampler, *task.baselines.values())
    samplers = [one for one in found if isinstance(one, TextBaseline) and one.weights is None]
    if others := dict.fromkeys(one.name for one in samplers if one.embedded_guidance != takes):
        what, needs = ("a", "takes none") if takes else ("no", "takes one")
        raise _another(
            task,
            f"the network of {named} takes {what} scale of its guidance as an input, but the teacher of task "
            f"{task.name!r} {needs} (embedded_guidance={not takes} of {listed(others)})",
            f", or give the samplers of a task of your own embedded_guidance={takes}",
        )


def _another(task: TextTask, what: str, more: str = "") -> UserError:
    return UserError(
        f"{what}, such as {task.teacher_repository}; fix: bench prepare {task.called} --teacher "
        f"{task.teacher_repository} (or a folder, a file of its kind), or name another task (bench list){more}"
    )


def shown(named: Path) -> str:
    """Return a model's name in tables: a folder's or file's own name, or a hub's whole identifier."""
    path = named.expanduser()
    return path_name(path) if path.exists() else str(named)
