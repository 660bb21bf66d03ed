"""The whole way with a flow transformer as teacher, on tiny pipelines in the format of each published one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from command import output
from flux_networks import save_flux
from inception_files import photographs, random_inception
from PIL import Image
from preference_files import save_hps, save_image_reward, save_pickscore
from sana_pipelines import tiny_sana
from sd3_pipelines import save_sd3
from tests_support import TEXT_PLUGIN

from bench.core.progress import SilentProgress
from bench.core.run_folder import OTHER_PROTOCOLS
from bench.features.files import PORT
from bench.runs.planning import plan_run
from bench.runs.record import Record
from bench.runs.records import load_records, read_record
from bench.runs.registry import load_catalogue
from bench.runs.runner import Runner
from bench.runs.task_sources import pinned_task
from bench.task.declaration import Sources
from bench.training.trainer import Trainer

SAVE: dict[str, Callable[[Path], object]] = {
    "sd3": save_sd3,
    "flux": save_flux,
    "sana": lambda folder: tiny_sana().save_pretrained(folder),
}
"""What writes a tiny pipeline of each family."""
RECIPE = {
    "iterations": 20,
    "batch_size": 2,
    "precision": "fp32",
    "teacher_precision": "fp32",
    "gradient_checkpointing": False,
}
PROMPTS = ("a red cat", "the shoe of a dog")


def bench(command: str, *arguments: str) -> str:
    """Call a command, with the plug-in where it takes one; a user's mistake is raised."""
    return output(command, *arguments, *(() if command == "report" else ("--plugin", str(TEXT_PLUGIN))))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user has downloaded, but for the teachers."""
    root = tmp_path_factory.mktemp("flows")
    load_catalogue([TEXT_PLUGIN])  # names the tiny CLIP
    torch.manual_seed(0)
    torch.save(random_inception(16), root / PORT.name)
    torch.save(open_clip.create_model("tiny-clip").state_dict(), root / "clip.bin")
    save_pickscore(root / "pickscore")
    save_hps(root / "HPS_v2.1_compressed.pt")
    save_image_reward(root / "reward")
    (root / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in PROMPTS))
    for folder in ("data", "reals"):
        (root / folder).mkdir()
        for i, photo in enumerate(photographs(5, 40)):
            Image.fromarray(photo.permute(1, 2, 0).numpy()).save(root / folder / f"{i}.png")
            (root / folder / f"{i}.txt").write_text(f"photograph {i}")
    return root


class Prepared:
    """A stand-in of a family's task with everything that it requires, and its runs."""

    def __init__(self, family: str, files: Path, root: Path) -> None:
        key = {"sd3": "sd35"}.get(family, family)
        self.task, self.cache, self.runs = f"standin-{key}", root / "cache", root / "runs"
        self.own = f"coco10k-{key}"
        SAVE[family](root / "teacher")
        named = {"--teacher": root / "teacher", "--data": files / "data", "--prompts": files / "prompts.txt"}
        weights = {
            "inception": files / PORT.name,
            "clip": files / "clip.bin",
            "pickscore": files / "pickscore",
            "hps": files / "HPS_v2.1_compressed.pt",
            "image-reward": files / "reward",
        }
        options = [str(part) for pair in named.items() for part in pair]
        options += [part for name, path in weights.items() for part in ("--weights", f"{name}={path}")]
        bench("prepare", "--task", self.task, *options, "--own-weights", *self.where[:2])
        bench("prepare", "--task", self.task, "--reals", str(files / "reals"), *self.where[:2])

    @property
    def where(self) -> tuple[str, ...]:
        return "--cache", str(self.cache), "--runs", str(self.runs)

    def train(self, method: str, **recipe: object) -> tuple[Record, Path]:
        """Train one student in this process, measured quickly: its record and its folder."""
        catalogue = load_catalogue([TEXT_PLUGIN])
        task = pinned_task(catalogue, self.task, self.cache, "quick")
        run = plan_run(catalogue, method, task, {**RECIPE, **recipe}, 0, self.runs)
        prepared = task.prepare(Sources(self.cache), SilentProgress())
        record = Runner(catalogue, prepared, SilentProgress()).run(run)
        assert record.error is None, record.error
        return record, run.folder


@pytest.fixture(scope="module", params=SAVE)
def prepared(request: pytest.FixtureRequest, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The stand-in of each family."""
    return Prepared(request.param, files, tmp_path_factory.mktemp(request.param))


def test_a_student_is_trained_killed_and_resumed(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    advance, begun = Trainer.advance, list[int]()

    def killed(trainer: Trainer, iteration: int, *arguments: object) -> None:
        begun.append(iteration)
        if begun.count(12) == 1 and iteration == 12:
            raise KeyboardInterrupt
        advance(trainer, iteration, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "advance", killed)
    with pytest.raises(KeyboardInterrupt):
        prepared.train("dmd2-4step")
    record, _ = prepared.train("dmd2-4step")
    assert begun == [*range(13), *range(12, 20)]
    assert record.checkpoint is not None and record.checkpoint.iteration == 20
    assert len(record.sampler["times"]) == 4 and record.sampler["times"][0] == 1


def test_a_student_is_evaluated_under_every_protocol_and_reported(prepared: Prepared) -> None:
    """Its own protocol compares with the teacher's images, at distance 0 from themselves."""
    _, run = prepared.train("dmd2-4step")
    own = prepared.own
    protocols = (own, own.replace("10k", "5k"), f"{own}-reals", f"{own}-preference")
    for protocol in protocols:
        of = ("--checkpoint", str(run), "--protocol", protocol)
        assert f"record: {run / OTHER_PROTOCOLS}" in bench("eval", "--task", prepared.task, *of, *prepared.where)
    bench("eval", "--task", prepared.task, "--sampler", "teacher", "--protocol", own, *prepared.where)
    measured = {
        record.protocol["name"]: [metric.name for metric in record.metrics]
        for record in map(read_record, (run / OTHER_PROTOCOLS).glob("*.json"))
    }
    assert measured == {
        **{protocol: ["fd-teacher", "patch-fd-teacher", "clip"] for protocol in protocols[:2]},
        protocols[2]: ["fd", "patch-fd", "clip"],
        protocols[3]: ["pickscore", "hps", "image-reward"],
    }
    found = [one for one in load_records([prepared.runs]).records if one.protocol["name"] == own]
    distances = {record.kind: record.metrics[0].value or 0 for record in found}
    assert distances["baseline"] < 1e-3 < distances["method"]
    report = bench("report", "--task", prepared.task, "--runs", str(prepared.runs), "--format", "md")
    assert "FD to the teacher (inception-own-" in report and "by its sampler teacher" in report


def test_a_lora_is_trained_saved_alone_and_measured(prepared: Prepared) -> None:
    small = {"iterations": 2, "lora_rank": 4}
    base = {"critic_lora_rank": 4} if prepared.task == "standin-flux" else {}
    record, run = prepared.train("dmd2-4step-lora", **small, **base)
    assert (run / "student" / "pytorch_lora_weights.safetensors").is_file()
    assert record.method.recipe["one_base"] == bool(base)
