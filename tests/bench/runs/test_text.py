"""The way of text-to-image as a user goes it, on tiny pipelines in the stock format and a few real images."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torchvision
from command import bare, output
from diffusers import AutoencoderKL
from inception_files import photographs, random_inception
from PIL import Image
from preference_files import save_hps, save_image_reward, save_pickscore
from tests_support import TEXT_PLUGIN
from text_pipelines import save_sd15, save_sdxl, taesd
from torch import Tensor

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.core.run_folder import OTHER_PROTOCOLS
from bench.data.altered import EMPTY_CAPTION
from bench.features.files import PORT
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.text.encoders import SDXLEncoder
from bench.models.text.pipelines import load_pipeline
from bench.runs.planning import plan_run
from bench.runs.record import Record
from bench.runs.records import load_records, read_record
from bench.runs.registry import load_catalogue
from bench.runs.runner import Runner
from bench.runs.task_sources import pinned_task
from bench.task.declaration import Sources
from bench.training.trainer import Trainer
from tasks.text.baselines import HubWeights
from tasks.text.task import TextTask

PLUGIN = ("--plugin", str(TEXT_PLUGIN))
PROMPTS = ("a red bird", "two dogs in the snow", "an elephant")
RECIPE = {
    "iterations": 4,
    "batch_size": 2,
    "warmup": 1,
    "lr": 1e-4,
    "precision": "fp32",
    "teacher_precision": "fp32",
}

Where = tuple[str, ...]


def bench(command: str, *arguments: str) -> str:
    """Call a command, with the plug-in where it takes one; a user's mistake is raised."""
    return output(command, *arguments, *(() if command == "report" else PLUGIN))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user has downloaded: pipelines, scoring networks, captioned images, prompts, real images."""
    root = tmp_path_factory.mktemp("text")
    load_catalogue([TEXT_PLUGIN])  # names the tiny CLIP
    save_sd15(root / "sd15")
    save_sdxl(root / "sdxl")
    taesd().save_pretrained(root / "taesd")
    torch.manual_seed(0)
    torch.save(random_inception(16), root / PORT.name)
    torch.save(open_clip.create_model("tiny-clip").state_dict(), root / "clip.bin")
    trunk = torchvision.models.alexnet().state_dict()
    torch.save({name: value for name, value in trunk.items() if name.startswith("features")}, root / "alex.pth")
    (root / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in PROMPTS))
    for folder in ("data", "reals"):
        (root / folder).mkdir()
        for i, photo in enumerate(photographs(5, 40)):
            Image.fromarray(photo.permute(1, 2, 0).numpy()).save(root / folder / f"{i}.png")
            (root / folder / f"{i}.txt").write_text(f"photograph {i}" if i < 4 else " ")
    return root


@pytest.fixture(scope="module")
def prepared(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Where]:
    """Prepare a stand-in once; options that name its cache and its runs."""
    root, done = tmp_path_factory.mktemp("standins"), dict[str, Where]()

    def prepare(name: str) -> Where:
        if name not in done:
            where = ("--cache", str(root / name / "cache"))
            teacher = files / ("sd15" if name == "sd15" else "sdxl")
            needed = {"--teacher": teacher, "--data": files / "data", "--prompts": files / "prompts.txt"}
            weights = {"clip": files / "clip.bin"}
            if name == "parti":
                weights["lpips"] = files / "alex.pth"
            else:
                weights["inception"] = files / PORT.name
                needed["--reals"] = files / "reals"
            if name == "sdxl":
                needed["--tiny-vae"] = files / "taesd"
            options = [str(part) for pair in needed.items() for part in pair]
            options += [part for one, path in weights.items() for part in ("--weights", f"{one}={path}")]
            output = bench("prepare", "--task", f"standin-{name}", *options, "--own-weights", *where)
            expected = {"teacher", "latents", "prompts", "clip"} | ({"tiny_vae"} if name == "sdxl" else set())
            assert expected <= {line.split()[0] for line in output.splitlines()}
            done[name] = (*where, "--runs", str(root / name / "runs"))
        return done[name]

    return prepare


def records(where: Where) -> list[Record]:
    return load_records([Path(where[-1])]).records


def train(name: str, method: str, where: Where, **recipe: object) -> tuple[Record, Path]:
    """Train one student in this process, measured quickly: its record and its folder."""
    catalogue = load_catalogue([TEXT_PLUGIN])
    task = pinned_task(catalogue, f"standin-{name}", Path(where[1]), "quick")
    run = plan_run(catalogue, method, task, {**RECIPE, **recipe}, 0, Path(where[-1]))
    world = task.prepare(Sources(Path(where[1])), SilentProgress())
    record = Runner(catalogue, world, SilentProgress()).run(run)
    assert record.error is None, record.error
    return record, run.folder


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_a_student_is_trained_stopped_and_resumed_to_the_same_bits(
    name: str, prepared: Callable[[str], Where], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = prepared(name)
    elsewhere = (*where[:2], "--runs", str(tmp_path / "stopped"))
    advance = Trainer.advance

    def stopping(trainer: Trainer, iteration: int, *arguments: object) -> None:
        if iteration == 3:
            raise KeyboardInterrupt
        advance(trainer, iteration, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "advance", stopping)
        train(name, "dmd2-4step", elsewhere)
    resumed, _ = train(name, "dmd2-4step", elsewhere)
    whole, _ = train(name, "dmd2-4step", where)
    assert whole.checkpoint is not None and whole.checkpoint == resumed.checkpoint
    assert [metric.value for metric in whole.metrics] == [metric.value for metric in resumed.metrics]
    assert whole.sampler["times"] == [999, 749, 499, 249]
    (latents,) = (one for one in whole.data if one.role == "latents")
    assert latents.altered == {EMPTY_CAPTION: 1}


@pytest.mark.parametrize(("name", "official"), [("sd15", "coco30k-as-official"), ("sdxl", "coco10k-as-official")])
def test_a_student_is_evaluated_under_every_protocol(
    name: str, official: str, prepared: Callable[[str], Where]
) -> None:
    where = prepared(name)
    _, run = train(name, "dmd2", where, iterations=1)
    for protocol, named in ((official.removesuffix("-as-official"), run), (official, run / "student")):
        of = ("--checkpoint", str(named), "--protocol", protocol)
        output = bench("eval", "--task", f"standin-{name}", *of, *where)
        assert f"record: {run / OTHER_PROTOCOLS}" in output
        assert "FD (inception-own-" in output and "CLIP score" in output
        assert ("Patch FD (inception-own-" in output) == (name == "sdxl")
    if name == "sdxl":  # images of 16 pixels, and real ones of 40, have no patch of 299
        paths = (run / OTHER_PROTOCOLS).glob("*.json")
        found = [metric for path in paths for metric in read_record(path).metrics if metric.name == "patch-fd"]
        for metric in found:
            assert metric.diagnostics[0]["generated_without_patch"] == metric.samples
            assert metric.diagnostics[0]["reference_without_patch"] == 5
        assert len(found) == 2


def test_a_student_is_compared_with_its_teacher_s_images_and_the_teacher_is_at_distance_zero(
    prepared: Callable[[str], Where],
) -> None:
    """They are made before the first evaluation, once, and every record names them by their hash."""
    where, protocol = prepared("sdxl"), ("--task", "standin-sdxl", "--protocol", "coco10k-teacher")
    made = bench("prepare", *protocol, "--teacher-images", *where[:2])
    assert "reference of the teacher, main" in made and "reference of the teacher, patch" in made
    _, run = train("sdxl", "dmd2", where, iterations=1)
    evaluated = bench("eval", *protocol, "--checkpoint", str(run), *where)
    assert "FD to the teacher (inception-own-" in evaluated and "Patch FD to the teacher" in evaluated
    bench("eval", *protocol, "--sampler", "teacher", *where)
    found = {one.kind: one for one in records(where) if one.protocol["name"] == "coco10k-teacher"}
    distances = {kind: [one.value or 0 for one in record.metrics[:2]] for kind, record in found.items()}
    assert max(distances["baseline"]) < 1e-3 < min(distances["method"])
    hashes = {
        kind: {one.role: one.sha256 for one in record.data if "of the teacher" in one.role}
        for kind, record in found.items()
    }
    assert hashes["baseline"] == hashes["method"] and len(hashes["method"]) == 2


def test_a_lora_is_trained_saved_alone_and_measured(prepared: Callable[[str], Where]) -> None:
    record, run = train("sdxl", "dmd2-4step-lora", prepared("sdxl"), iterations=1, lora_rank=4)
    student = run / "student"
    assert (student / "pytorch_lora_weights.safetensors").is_file() and not (student / "unet").exists()
    assert record.method.recipe["lora_rank"] == 4


@pytest.mark.parametrize("subject", ["teacher", "student", "lora"])
def test_everything_that_is_sampled_can_be_sampled_in_bf16(
    subject: str, prepared: Callable[[str], Where], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text encoders and the decoder stay float32."""
    where, dtypes = prepared("sdxl"), set[torch.dtype]()
    of = ("--sampler", "teacher")
    if subject != "teacher":
        method, more = ("dmd2-4step-lora", {"lora_rank": 4}) if subject == "lora" else ("dmd2-4step", {})
        of = ("--checkpoint", str(train("sdxl", method, where, iterations=1, **more)[1]))
    predict = StableDiffusionDenoiser.predict

    def seen(denoiser: StableDiffusionDenoiser, x: Tensor, *rest: Any) -> Tensor:
        dtypes.update(weight.dtype for weight in denoiser.network.parameters())
        return predict(denoiser, x, *rest)

    monkeypatch.setattr(StableDiffusionDenoiser, "predict", seen)
    found = []
    for protocol, dtype in (("quick", torch.float32), ("quick.bf16", torch.bfloat16)):
        dtypes.clear()
        output = bench("eval", "--task", "standin-sdxl", *of, "--protocol", protocol, *where)
        assert dtypes <= {dtype} and "CLIP score" in output
        found.append(float(re.findall(r"^CLIP score.*?\s([\d.-]+)", output, re.MULTILINE)[0]))
    assert found[0] == pytest.approx(found[1], abs=0.02)


def test_training_prompts_are_another_run_than_the_captions(
    prepared: Callable[[str], Where], files: Path, tmp_path: Path
) -> None:
    where = prepared("sd15")
    captions = pinned_task(load_catalogue([TEXT_PLUGIN]), "standin-sd15", Path(where[1]), "quick")
    cache = str(shutil.copytree(where[1], tmp_path / "cache"))
    (tmp_path / "laion.txt").write_text("a cat\na house by the sea\n")
    output = bench(
        "prepare", "--task", "standin-sd15", "--training-prompts", str(tmp_path / "laion.txt"), "--cache", cache
    )
    assert "training_prompts" in output
    own = pinned_task(load_catalogue([TEXT_PLUGIN]), "standin-sd15", Path(cache), "quick")
    assert set(own.identity_of(())) - set(captions.identity_of(())) == {"training_prompts"}
    world = own.prepare(Sources(Path(cache)), SilentProgress())
    pipeline = load_pipeline(files / "sd15")
    assert world.training_conditions == 2
    expected = pipeline.encoder.encode(["a house by the sea"])
    assert torch.equal(world.training_condition(torch.tensor([1])), expected)
    assert torch.equal(
        world.real_batch(torch.tensor([3]), torch.device("cpu"))[1], pipeline.encoder.encode(["photograph 3"])
    )


def test_evaluations_need_nothing_to_train_on(
    prepared: Callable[[str], Where], files: Path, tmp_path: Path
) -> None:
    """The same result with and without: what is trained on is part of a student's identity, of no evaluation's."""
    cache, task = ("--cache", str(tmp_path / "cache")), ("--task", "standin-parti")
    needed = (
        "--teacher",
        str(files / "sdxl"),
        "--prompts",
        str(files / "prompts.txt"),
        "--weights",
        f"clip={files / 'clip.bin'}",
    )
    output = bench("prepare", *task, *needed, "--weights", f"lpips={files / 'alex.pth'}", "--own-weights", *cache)
    assert re.search(r"latents +missing .*: bench prepare --task standin-parti --data PATH", bare(output))
    runs = ("--runs", str(tmp_path / "runs"))
    bench("eval", *task, "--sampler", "teacher", *cache, *runs)
    trained_on = prepared("parti")
    bench("eval", *task, "--sampler", "teacher", *trained_on[:2], "--runs", str(tmp_path / "others"))
    (one,), (other,) = (load_records([tmp_path / folder]).records for folder in ("runs", "others"))
    assert one.run_id == other.run_id
    assert [metric.value for metric in one.metrics] == [metric.value for metric in other.metrics]
    with pytest.raises(UserError, match=r"missing:\n  latents: bench prepare .* --data PATH"):
        bench("run", "--method", "dmd2", *task, *cache, *runs)
    world = pinned_task(load_catalogue([TEXT_PLUGIN]), "standin-parti", Path(cache[1]), None).prepare(
        Sources(Path(cache[1])), SilentProgress()
    )
    with pytest.raises(UserError, match=r"'standin-parti' has no training data; fix: .* --data PATH"):
        world.pairs(1)


def test_diversity_is_measured_over_the_images_of_each_prompt(prepared: Callable[[str], Where]) -> None:
    where = prepared("parti")
    output = bench("eval", "--task", "standin-parti", "--sampler", "teacher", *where)
    assert "LPIPS diversity" in output and "CLIP score" in output
    (record,) = records(where)
    diversity = next(metric for metric in record.metrics if metric.name == "diversity")
    assert (diversity.samples, diversity.diagnostics[0]["prompts"]) == (8, 2)


def test_preferences_are_measured_by_the_models_that_were_chosen(
    prepared: Callable[[str], Where], tmp_path: Path
) -> None:
    """None is needed by another protocol; theirs takes those that were named, and asks for one if none was."""
    cache = ("--cache", str(shutil.copytree(prepared("parti")[1], tmp_path / "cache")))
    task = ("--task", "standin-parti", "--protocol", "partiprompts-preference")
    evaluate = ("eval", *task, "--sampler", "teacher", *cache, "--runs", str(tmp_path / "runs"))
    with pytest.raises(UserError) as caught:
        bench(*evaluate)
    for name in ("pickscore", "hps", "image-reward"):
        assert f"bench prepare --task standin-parti --weights {name}=PATH" in bare(caught.value)
    assert "one preference model is enough" in str(caught.value)

    pickscore, hps = save_pickscore(tmp_path / "pickscore"), save_hps(tmp_path / "HPS_v2.1_compressed.pt")
    named = ("--weights", f"pickscore={pickscore}", "--weights", f"hps={hps}")
    output = bench("prepare", *task, *named, *cache)
    assert {"pickscore", "hps"} <= {line.split()[0] for line in output.splitlines() if line.strip()}
    two = pinned_task(load_catalogue([TEXT_PLUGIN]), "standin-parti", Path(cache[1]), task[-1]).protocol
    assert two.metrics == ("pickscore", "hps") and two.extractors.keys() == {"pickscore", "hps"}

    bench("prepare", *task, "--weights", f"image-reward={save_image_reward(tmp_path / 'reward')}", *cache)
    output = bench(*evaluate)
    assert "PickScore" in output and "HPS v2.1" in output and "ImageReward" in output
    (record,) = load_records([tmp_path / "runs"]).records
    assert [metric.name for metric in record.metrics] == ["pickscore", "hps", "image-reward"]
    assert all(metric.samples == 8 and metric.diagnostics[0]["prompts"] == 2 for metric in record.metrics)
    assert record.protocol["extractors"]["hps"].startswith("hps-v2.1, weights ")


def test_published_weights_are_baselines(prepared: Callable[[str], Where], files: Path, tmp_path: Path) -> None:
    where = prepared("sdxl")
    unet = load_pipeline(files / "sdxl").network
    student = {name: 1.01 * value for name, value in unet.state_dict().items()}
    torch.save({name: value.half() for name, value in student.items()}, tmp_path / "dmd2_unet_fp16.bin")
    evaluate = ("eval", "--task", "standin-sdxl", "--protocol", "quick", "--checkpoint")
    for steps, times in ((4, [999, 749, 499, 249]), (1, [399])):
        output = bench(*evaluate, str(tmp_path / "dmd2_unet_fp16.bin"), "--steps", str(steps), *where)
        (path,) = re.findall(r"^record: (.*)$", output, re.MULTILINE)
        record = read_record(Path(path))
        assert record.sampler["times"] == times and record.method.name == "dmd2_unet_fp16"
        how = f"is sampled as DMD2's students: at {', '.join(map(str, times))}, with fresh noise, unguided"
        assert how in " ".join(output.split())
    with pytest.raises(UserError, match="no sampler of 3 steps; --steps takes 4 or 1"):
        bench(*evaluate, str(tmp_path / "dmd2_unet_fp16.bin"), "--steps", "3", *where)


def test_a_baseline_with_weights_of_its_own_is_recorded_by_them(
    prepared: Callable[[str], Where], files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the hub would give is a file here; the same sampler with other weights is another result."""
    weights = load_pipeline(files / "sdxl").network.state_dict()
    torch.save({name: 1.01 * value for name, value in weights.items()}, tmp_path / "student.bin")
    monkeypatch.setattr("tasks.text.sampling._file", lambda _weights, _download: tmp_path / "student.bin")
    where = (*prepared("sdxl")[:2], "--runs", str(tmp_path / "runs"))
    for sampler in ("teacher", "published"):
        bench("eval", "--task", "standin-sdxl", "--sampler", sampler, "--protocol", "quick", *where)
    found = {record.method.name: record.checkpoint for record in records(where)}
    assert found["teacher"] is not None and found["published"] is not None
    assert (found["teacher"].weights, found["published"].weights) == ("ema", "published")
    assert found["teacher"].sha256 != found["published"].sha256


def test_latency_is_told_by_stage(prepared: Callable[[str], Where]) -> None:
    where = prepared("sd15")[:2]
    task = ("--task", "standin-sd15", "--repetitions", "3", "--warm-up", "1")
    output = bench("latency", *task, "--sampler", "teacher", *where).splitlines()
    assert "3 images after 1 untimed ones" in output[-5]
    seconds = {line.split()[0]: float(line.split()[1]) for line in output[-4:]}
    assert list(seconds) == ["conditions", "denoising", "decoding", "together"]
    assert 0 < seconds["denoising"] < 60
    assert all(stage > 0 for stage in seconds.values())  # a stage of microseconds is shown as that, and not as 0
    with pytest.raises(UserError, match="either --checkpoint PATH or --sampler NAME"):
        bench("latency", *task, *where)


def test_weights_that_are_not_here_are_named_and_nothing_is_downloaded(prepared: Callable[[str], Where]) -> None:
    with pytest.raises(UserError, match=r"tianweiy/DMD2 is not in the hub's cache, and nothing is downloaded"):
        bench("eval", "--task", "standin-sdxl", "--sampler", "published", "--protocol", "quick", *prepared("sdxl"))


def test_what_is_missing_is_said_with_the_command_that_gets_it(files: Path, tmp_path: Path) -> None:
    cache = ("--cache", str(tmp_path))
    with pytest.raises(UserError) as caught:
        bench("prepare", "--task", "standin-sdxl", "--prompts", str(files / "prompts.txt"), *cache)
    for option in (
        "--teacher stabilityai",
        "--data PATH",
        "--weights inception=FILE",
        "--reals FOLDER",
        "--weights clip=FILE",
    ):
        assert f"bench prepare --task standin-sdxl {option}" in bare(caught.value)
    assert "--prompts" not in str(caught.value)
    chosen = json.loads((tmp_path / "chosen" / "standin-sdxl.json").read_text())
    assert chosen["prompts"]["name"].startswith("prompts, 3, sha256 ")
    with pytest.raises(UserError, match="name --weights inception=FILE and --prompts first"):
        bench("prepare", "--task", "standin-sdxl", "--reals", str(files / "reals"), *cache)


def test_a_teacher_that_changed_since_it_was_chosen_is_refused(
    prepared: Callable[[str], Where], tmp_path: Path
) -> None:
    where = prepared("parti")
    teacher = save_sdxl(tmp_path / "sdxl")
    cache = ("--cache", str(tmp_path / "cache"))
    chosen = json.loads((Path(where[1]) / "chosen" / "standin-parti.json").read_text())
    chosen["teacher"]["path"] = str(teacher)
    (tmp_path / "cache" / "chosen").mkdir(parents=True)
    (tmp_path / "cache" / "chosen" / "standin-parti.json").write_text(json.dumps(chosen))
    weights = teacher / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UserError, match=r"sdxl has changed since bench prepare pinned it; fix: run bench prepare"):
        bench("eval", "--task", "standin-parti", "--sampler", "teacher", *cache)


def test_latents_of_another_vae_than_the_teacher_s_are_refused(
    prepared: Callable[[str], Where], files: Path, tmp_path: Path
) -> None:
    """A teacher that is chosen after the data has not encoded it."""
    cache = ("--cache", str(shutil.copytree(prepared("parti")[1], tmp_path / "cache")))
    other = Path(shutil.copytree(files / "sdxl", tmp_path / "other"))
    vae = AutoencoderKL.from_pretrained(other / "vae")
    vae.quant_conv.bias.data += 1
    vae.save_pretrained(other / "vae")
    choose = ("prepare", "--task", "standin-parti", "--teacher", str(other), *cache)
    with pytest.raises(
        UserError,
        match=r"another VAE than that of the teacher other made the latents .*different weights\); fix: ",
    ):
        bench(*choose)
    bench(*choose, "--data", str(files / "data"))


def test_what_was_prepared_from_one_folder_is_found_from_another(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("a cat\n")
    with pytest.raises(UserError, match="missing"):
        bench("prepare", "--task", "standin-sd15", "--prompts", "mine.txt", "--cache", "cache")
    monkeypatch.chdir(files)
    with pytest.raises(UserError) as caught:
        bench("prepare", "--task", "standin-sd15", "--cache", str(tmp_path / "cache"))
    assert "--teacher" in str(caught.value) and "--prompts" not in str(caught.value)


def test_the_official_tokens_are_of_all_that_is_measured_and_of_no_training(
    prepared: Callable[[str], Where], files: Path
) -> None:
    """The official evaluation loads one tokenizer twice, also for its rivals; training does not (3.3)."""
    cache = Path(prepared("sdxl")[1])
    task = pinned_task(load_catalogue([TEXT_PLUGIN]), "standin-sdxl", cache, "coco10k-as-official")
    assert isinstance(task, TextTask)
    world = replace(task, protocol=replace(task.protocol, metrics=())).prepare(Sources(cache), SilentProgress())
    encoder = load_pipeline(files / "sdxl").encoder
    assert isinstance(encoder, SDXLEncoder)
    two = torch.arange(2)

    def read(one: SDXLEncoder, prompts: Sequence[str]) -> Tensor:
        return torch.cat([one.encode([prompt]) for prompt in prompts])

    captions = [f"photograph {i}" for i in two.tolist()]
    assert torch.equal(world.training_condition(two), read(encoder, captions))
    assert torch.equal(world.real_batch(two, torch.device("cpu"))[1], read(encoder, captions))
    official = read(encoder.with_first_tokenizer(), PROMPTS[:2])
    assert not torch.allclose(official, read(encoder, PROMPTS[:2]))
    assert torch.equal(world.conditions(two), official)
    rival = replace(task.pair_sampler, name="rival", weights=HubWeights("pipeline", str(files / "sdxl")))
    assert torch.equal(world.sampled(rival).prepared.conditions(two), official)


def test_the_official_first_step_is_told_another_alpha(files: Path) -> None:
    """0.0047 for 0.00466: the first image is 0.9957 times what the model means, as in the official script."""
    schedule = load_pipeline(files / "sd15").denoiser().schedule
    output = schedule.with_alpha_bar(999, 0.0047)
    last = torch.tensor([999.0])
    assert float(output.alpha(last)) ** 2 == pytest.approx(0.0047, rel=1e-12)
    assert float(schedule.alpha(last) / output.alpha(last)) == pytest.approx(0.9957, abs=1e-4)
    assert torch.equal(output.alpha(last - 1), schedule.alpha(last - 1))
