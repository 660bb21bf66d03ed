"""The prompts of a text-to-image task: read by its rule, stored in the cache, and what is odd about them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.core.errors import UserError, listed
from bench.core.files import write_text
from bench.core.progress import Progress
from bench.data.text.coco import coco10k, coco30k, is_captions_file
from bench.data.text.dpg import dpg_prompts
from bench.data.text.geneval import geneval_prompts
from bench.data.text.packed import open_latents
from bench.data.text.parti import parti, parti_128
from bench.data.text.prompts import PromptList, read_prompts
from bench.features.prompt_following.ocr_text import quoted_text
from bench.models.text.conditions import note_cut
from bench.models.text.pipelines import load_pipeline
from bench.task.pinned import PinnedAsset
from tasks.text.task import LATENTS, TRAINING_PROMPTS, TextTask


def quoted_prompts(path: Path) -> PromptList:
    """Read a list of prompts that all quote the text to write. Raises UserError that names one without."""
    found = read_prompts(path)
    for prompt in found:
        try:
            quoted_text(prompt)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    return found


READERS: Mapping[str, Callable[[Path], PromptList]] = {
    "coco30k": coco30k,
    "parti": parti,
    "parti-128": parti_128,
    "quoted": quoted_prompts,
    "geneval": geneval_prompts,
    "dpg": dpg_prompts,
}
"""The readers of files of prompts by the rule that a task names; all other files are lists."""


def pinned_prompts(task: TextTask, path: Path, cache: Path) -> PinnedAsset:
    """Read the prompts by the task's rule, and store the list, with the names of its real images if it has any."""
    images: tuple[str, ...] = ()
    if task.prompt_rule == "coco10k" and is_captions_file(path):
        subset = coco10k(path)
        prompts, images = subset.prompts, subset.images
    else:
        prompts = READERS.get(task.prompt_rule, read_prompts)(path)
    return kept_list(prompts, images, cache)


def note_count(task: TextTask, found: int, progress: Progress) -> None:
    """Show a note if the number of prompts is not the protocol's."""
    used = task.protocol.samples // task.protocol.images_per_prompt
    if found != used:
        how = f"the first {used:,} are used" if found > used else "they are repeated from the first on"
        noun = "prompt" if found == 1 else "prompts"
        progress.note(f"{found:,} {noun}, but protocol {task.protocol.name} has {used:,}: {how}")


def note_empty(prompts: PromptList, progress: Progress) -> None:
    """Show a note if prompts are empty, as it is shown of captions."""
    if empty := prompts.empty():
        progress.note(f"{len(prompts):,} prompts: {len(empty):,} empty, at {listed(empty)} (counted from 0)")


def note_cut_training(pinned: Mapping[str, PinnedAsset], progress: Progress) -> None:
    """Show a note if the teacher reads only the beginning of training prompts; a run tells of the protocol's."""
    lists = dict[str, Sequence[str]]()
    if LATENTS in pinned:
        lists["captions"] = open_latents(Path(pinned[LATENTS].path)).captions
    if TRAINING_PROMPTS in pinned:
        lists["training prompts"] = kept_prompts(Path(pinned[TRAINING_PROMPTS].path))[0].prompts
    if lists and "teacher" in pinned:
        encoder = load_pipeline(Path(pinned["teacher"].path)).encoder
        for what, prompts in lists.items():
            note_cut(encoder.read_whole(prompts), what, progress.note)


def kept_list(prompts: PromptList, images: Sequence[str], cache: Path) -> PinnedAsset:
    kept = cache / "prompts" / f"{prompts.name}-{prompts.sha256[:12]}.json"
    content = {"name": prompts.name, "source": prompts.source, "prompts": prompts.prompts, "images": images}
    if prompts.categories:
        content["categories"] = prompts.categories
    write_text(kept, json.dumps(content, ensure_ascii=False) + "\n")
    return PinnedAsset(str(kept), prompts.sha256, f"{prompts.name}, {len(prompts)}, sha256 {prompts.sha256[:12]}")


def kept_prompts(path: Path) -> tuple[PromptList, tuple[str, ...]]:
    """Read a stored list of prompts, and the names of its real images. Raises UserError if it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        categories = found.get("categories", ())  # older files have none
        prompts = PromptList.of(found["name"], found["prompts"], found["source"], categories)
        return prompts, tuple(found["images"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); fix: name the prompts to bench prepare again") from None
