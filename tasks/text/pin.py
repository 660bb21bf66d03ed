"""Pinning of a text-to-image task's assets: each is checked, brought into the cache and recorded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from bench.core.device import this_device
from bench.core.errors import UserError
from bench.core.files import digest, folder_sha256
from bench.core.progress import Progress
from bench.data.text.coco import VAL2014_IMAGES
from bench.data.text.detect import open_captioned
from bench.data.text.latent_lmdb import LatentLMDB
from bench.data.text.latents import pack_latent_lmdb, pack_latents
from bench.data.text.prompts import read_prompts
from bench.features.extracting import inception_of_patches, inception_of_squares
from bench.features.networks.clip import load_clip
from bench.features.networks.inception import InceptionFeatures, load_inception
from bench.features.networks.lpips_diversity import load_lpips
from bench.features.networks.preference_loaders import load_preference
from bench.features.references.make import FeatureSpace, folder_images, kept_references
from bench.features.references.store import reference_store
from bench.features.scoring import CLIP_ROLES, PREFERENCES, diversity_protocol
from bench.models.backbones.text import TextPipeline
from bench.models.text.hub import named_folder
from bench.models.text.pipelines import TINY_VAE_FILES, load_pipeline, load_tiny_vae
from bench.task.declaration import Sources
from bench.task.pinned import PinnedAsset, pin_assets, read_pinned
from tasks.text.prompts import kept_list, kept_prompts, note_count, note_cut_training, note_empty, pinned_prompts
from tasks.text.reals import open_reals
from tasks.text.sampling import weights_sha256
from tasks.text.task import LPIPS, REALS, TINY_VAE, TRAINING_PROMPTS, TextTask
from tasks.text.teachers import pinned_teacher, shown

KEPT = 10_000
"""Number of real images whose single features are kept, for KID and for precision and recall."""
PATCH_SUFFIX = "-patch"
"""Suffix of the name of a reference of patches."""


def pin(task: TextTask, sources: Sources, progress: Progress) -> None:
    """Bring the assets that the user named into the cache, and pin them for the task.

    All other assets stay pinned as before. Raises UserError if one is damaged or of another kind.
    """
    path = task.pinned_path(sources.cache)
    pinned = read_pinned(path)

    def keep(role: str, asset: PinnedAsset) -> None:
        pinned.update(
            pin_assets(path, {role: asset})
            # at once: encoding takes hours, which a wrong next path must not waste
        )
        progress.note(f"{task.name} runs on {role} {asset.name}")

    if sources.teacher is not None:
        keep("teacher", pinned_teacher(task, sources.teacher, sources.download, progress))
    if sources.data is not None:
        keep("latents", _latents(task, sources, pinned, progress))
    if sources.prompts is not None:
        keep("prompts", pinned_prompts(task, sources.prompts.expanduser(), sources.cache))
        prompts, _ = kept_prompts(Path(pinned["prompts"].path))
        note_count(task, len(prompts), progress)
        note_empty(prompts, progress)
    if sources.training_prompts is not None:
        own_prompts = read_prompts(sources.training_prompts)
        keep(TRAINING_PROMPTS, kept_list(own_prompts, (), sources.cache))
        note_empty(own_prompts, progress)
    if sources.teacher is not None or sources.data is not None or sources.training_prompts is not None:
        note_cut_training(pinned, progress)
    if sources.tiny_vae is not None:
        keep(TINY_VAE, _tiny_vae(sources))
    if "inception" in sources.weights or (sources.download and "features" not in pinned):
        inception = _inception(sources, progress)
        keep("features", PinnedAsset(str(inception.path), inception.sha256, inception.name))
    for role in sources.weights.keys() & set(CLIP_ROLES):
        scorer = load_clip(task.clip_in(role), sources.weights[role])
        own = f"{scorer.protocol.name}, weights {scorer.sha256[:12]}"
        keep(scorer.protocol.role, PinnedAsset(str(scorer.path), scorer.sha256, own))
    if LPIPS in sources.weights or (sources.download and LPIPS in task.roles and LPIPS not in pinned):
        lpips = load_lpips(
            diversity_protocol(task.rules.diversity),
            sources.weights.get(LPIPS),
            sources.cache,
            download=sources.download,
            progress=progress,
            own_weights=sources.takes_any_hash(LPIPS),
        )
        own = f"{lpips.protocol.name}, trunk {lpips.sha256[:12]}"
        keep(LPIPS, PinnedAsset(str(lpips.path), lpips.sha256, own))
    for name in [name for name in PREFERENCES if name in sources.weights]:
        path_of = sources.weights[name]
        model = load_preference(name, path_of)
        own = f"{PREFERENCES[name].name}, weights {model.sha256[:12]}"
        keep(name, PinnedAsset(str(path_of), model.sha256, own))
    if sources.reals is not None:
        for role, asset in _reals(task, sources, pinned, progress).items():
            keep(role, asset)


def tiny_vae_sha256(folder: Path) -> str:
    """Return the hash of the files of a tiny VAE's folder that are read."""
    return folder_sha256(folder, TINY_VAE_FILES)


def _tiny_vae(sources: Sources) -> PinnedAsset:
    named = sources.tiny_vae
    assert named is not None
    path = named_folder(named, sources.download, TINY_VAE_FILES)
    load_tiny_vae(path)  # check that it loads
    return PinnedAsset(str(path), tiny_vae_sha256(path), shown(named))


def _pipeline(pinned: Mapping[str, PinnedAsset]) -> TextPipeline:
    if "teacher" not in pinned:
        raise UserError(
            "the teacher's VAE encodes images, but no teacher is pinned; fix: name --teacher with --data"
        )
    return load_pipeline(Path(pinned["teacher"].path))


def _latents(
    task: TextTask, sources: Sources, pinned: Mapping[str, PinnedAsset], progress: Progress
) -> PinnedAsset:
    """Pack latents, or encode images with the mean of the teacher's VAE in evaluation mode."""
    assert sources.data is not None
    source = open_captioned(sources.data)
    try:
        space = _pipeline(pinned).latents
        shape, scaling = space.shape(task.rules.resolution), float(space.vae.config.scaling_factor)
        vae_sha256 = weights_sha256(space.vae)
        folder = sources.cache / "data" / f"{task.name}-{source.index_sha256[:12]}-{vae_sha256[:12]}"
        if isinstance(source, LatentLMDB):
            packed = pack_latent_lmdb(source, folder, scaling=scaling, shift=space.shift, progress=progress)
        else:
            on = this_device()
            space.to(on)
            packed = pack_latents(
                source,
                folder,
                lambda images: space.encode(images.to(on)),
                resolution=task.rules.resolution,
                scaling=scaling,
                shift=space.shift,
                vae_sha256=vae_sha256,
                progress=progress,
            )
    finally:
        source.close()
    if packed.latents.shape[1:] != shape:
        raise UserError(
            f"{sources.data} contains latents {list(packed.latents.shape[1:])}, but task {task.name!r} makes "
            f"images of {task.rules.resolution} pixels, whose latents are {list(shape)}; fix: name other data"
        )
    return PinnedAsset(
        str(folder), digest(packed.manifest.sha256), f"{len(packed)} latents of {sources.data.name}"
    )


def _inception(sources: Sources, progress: Progress) -> InceptionFeatures:
    return load_inception(
        sources.weights.get("inception"),
        sources.cache,
        download=sources.download,
        progress=progress,
        own_weights=sources.takes_any_hash("inception"),
        resize="clean",
    )


def _reals(
    task: TextTask, sources: Sources, pinned: Mapping[str, PinnedAsset], progress: Progress
) -> dict[str, PinnedAsset]:
    """Return the folder of real images, and references of them and their patches, both made once in one pass.

    Without the FID Inception it is the folder alone, which is enough where no metric of the protocol reads it.
    """
    if "prompts" not in pinned or ("features" in task.roles and "features" not in pinned):
        raise UserError(
            "the FID Inception and the prompts must be pinned before real images; "
            "fix: name --weights inception=FILE and --prompts first"
        )
    assert sources.reals is not None
    _, names = kept_prompts(Path(pinned["prompts"].path))
    folder = sources.reals.expanduser()
    files, store = open_reals(folder, names), reference_store(sources.cache)
    if task.prompt_rule == "coco30k" and len(files) != VAL2014_IMAGES:
        raise UserError(
            f"{folder} contains {len(files):,} images, not the {VAL2014_IMAGES:,} of val2014 that "
            f"{task.name} compares with; fix: unpack val2014.zip there again, and nothing else"
        )
    progress.note(files.tally())
    asset = PinnedAsset(str(folder), files.index_sha256, f"{len(files):,} images of {folder.name}")
    if "features" not in pinned:
        return {REALS: asset}
    rules, network = task.rules, pinned["features"].name
    made_of = [files.index_sha256, network, rules.compared_at, rules.small_patches, KEPT]
    name = f"{task.name}-{digest(made_of)[:12]}"
    roles = {"": "reference", PATCH_SUFFIX: "patch_reference"}
    inception = load_inception(
        Path(pinned["features"].path),
        sources.cache,
        download=False,
        progress=progress,
        own_weights=True,  # its hash is compared with the pinned one when it is used
        resize="clean",
        device=this_device(),
    )
    whole = partial(inception_of_squares, inception, rules.compared_at)
    patches = partial(inception_of_patches, inception, rules.small_patches)
    found = kept_references(
        folder_images(files, rules.compared_at, f"patches 299 px, {rules.small_patches}"),
        {"": FeatureSpace(network, whole), PATCH_SUFFIX: FeatureSpace(network, patches)},
        name,
        store,
        progress,
        keep=KEPT,
    )
    references = {
        role: PinnedAsset(str(store / (name + suffix)), found[suffix].description.sha256, name + suffix)
        for suffix, role in roles.items()
    }
    return references | {REALS: asset}
