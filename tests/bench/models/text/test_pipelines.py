"""Pipelines from disk: folders, one file, the hub's cache; what is wrong is said by name."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file
from single_file import write_single_file
from text_pipelines import SCALED_LINEAR, SIDE, normal, save_sd15, taesd
from torch import Tensor

from bench.core.errors import UserError
from bench.models.text.hub import named_folder
from bench.models.text.pipelines import load_pipeline, load_tiny_vae
from bench.models.text.vp_scheduler import schedule_of


def test_a_folder_of_sd15(sd15_folder: Path) -> None:
    pipeline = load_pipeline(sd15_folder)
    assert not pipeline.encoder.layout.pooled and pipeline.resolution == SIDE
    denoiser = pipeline.denoiser()
    assert denoiser.resolution is None and denoiser.schedule.prediction == "epsilon"
    assert denoiser.feature_shapes == ((32, 4, 4),)


def test_a_folder_of_sdxl(sdxl_folder: Path) -> None:
    pipeline = load_pipeline(sdxl_folder)
    stock = StableDiffusionXLPipeline.from_pretrained(sdxl_folder, local_files_only=True)
    assert pipeline.encoder.layout.pooled and pipeline.denoiser().resolution == SIDE
    assert pipeline.denoiser(resolution=2 * SIDE).resolution == 2 * SIDE
    for name, value in stock.unet.state_dict().items():
        assert torch.equal(pipeline.network.state_dict()[name], value)
    assert pipeline.scheduler["_class_name"] == "EulerDiscreteScheduler"
    frozen = (pipeline.network, pipeline.latents, pipeline.encoder)
    assert not any(parameter.requires_grad for part in frozen for parameter in part.parameters())


def test_loading_says_nothing(sdxl_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_pipeline(sdxl_folder)
    assert capfd.readouterr() == ("", "")


def test_v_prediction(tmp_path: Path) -> None:
    assert load_pipeline(save_sd15(tmp_path / "v", "v")).denoiser().schedule.prediction == "v"


@pytest.fixture(scope="module")
def one_files(sd15_folder: Path, sdxl_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both pipelines as one file each."""
    folder = tmp_path_factory.mktemp("one")
    for kind, source in (("sd15", sd15_folder), ("sdxl", sdxl_folder)):
        write_single_file(source, folder / f"{kind}.safetensors")
    return {kind: folder / f"{kind}.safetensors" for kind in ("sd15", "sdxl")}


class TestOneFile:
    """A single .safetensors file, with the names of the original checkpoints; no network."""

    @pytest.mark.parametrize("kind", ["sd15", "sdxl"])
    def test_it_is_the_folder_s_pipeline(
        self, kind: str, sd15_folder: Path, sdxl_folder: Path, tmp_path: Path
    ) -> None:
        folder = sd15_folder if kind == "sd15" else sdxl_folder
        write_single_file(folder, tmp_path / "model.safetensors")
        found = load_pipeline(tmp_path / "model.safetensors", architecture=folder)
        expected = load_pipeline(folder)
        for part in ("network", "latents", "encoder"):
            ours, theirs = (getattr(pipeline, part).state_dict() for pipeline in (found, expected))
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[name], value) for name, value in theirs.items()), part
        prompts = ["a red cat", ""]
        assert torch.equal(found.encoder.encode(prompts), expected.encoder.encode(prompts))
        assert torch.equal(found.encoder.null_condition(), expected.encoder.null_condition())
        assert found.denoiser().schedule.beta_end == expected.denoiser().schedule.beta_end == 0.012

    def test_its_configuration_is_not_downloaded_unasked(self, sdxl_folder: Path, tmp_path: Path) -> None:
        write_single_file(sdxl_folder, tmp_path / "model.safetensors")
        with pytest.raises(UserError, match=r"stable-diffusion-xl-base-1\.0 is not in the hub's cache"):
            load_pipeline(tmp_path / "model.safetensors")

    def test_of_another_architecture(self, sd15_folder: Path, sdxl_folder: Path, tmp_path: Path) -> None:
        write_single_file(sdxl_folder, tmp_path / "model.safetensors")
        with pytest.raises(UserError, match=r"model\.safetensors is not a pipeline like"):
            load_pipeline(tmp_path / "model.safetensors", architecture=sd15_folder)

    def test_missing_weights_are_not_made_up(self, sd15_folder: Path, tmp_path: Path) -> None:
        file = tmp_path / "model.safetensors"
        write_single_file(sd15_folder, file)
        state = load_file(file)
        del state["model.diffusion_model.out.2.weight"]
        save_file(state, file)
        with pytest.raises(UserError, match=r"model\.safetensors"):
            load_pipeline(file, architecture=sd15_folder)

    @pytest.mark.parametrize(
        ("kind", "start"),
        [
            ("sd15", "model.diffusion_model.input_blocks.0."),
            ("sd15", "model.diffusion_model."),
            ("sd15", "first_stage_model.encoder.conv_in."),
            ("sd15", "first_stage_model."),
            ("sd15", "cond_stage_model.transformer.text_model.encoder.layers.1."),
            ("sd15", "cond_stage_model."),
            ("sdxl", "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias"),
            ("sdxl", "conditioner.embedders.1.model.text_projection"),
            ("sdxl", "conditioner.embedders.1.model.positional_embedding"),
            ("sdxl", "conditioner.embedders.1.model.transformer.resblocks.1."),
            ("sdxl", "conditioner.embedders.1."),
            ("sdxl", "model.diffusion_model.label_emb."),
        ],
    )
    def test_no_part_of_it_is_made_up(
        self,
        kind: str,
        start: str,
        one_files: dict[str, Path],
        sd15_folder: Path,
        sdxl_folder: Path,
        tmp_path: Path,
    ) -> None:
        state = {name: value for name, value in load_file(one_files[kind]).items() if not name.startswith(start)}
        save_file(state, tmp_path / "pruned.safetensors")
        with pytest.raises(UserError, match=r"pruned\.safetensors"):
            load_pipeline(
                tmp_path / "pruned.safetensors", architecture=sd15_folder if kind == "sd15" else sdxl_folder
            )

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"v_pred": torch.zeros(0)}, r"v_pred \(unexpected\)"),
            ({"model.diffusion_model.extra.weight": torch.ones(1)}, r"extra\.weight \(unexpected\)"),
            ({"model.diffusion_model.extra.qkv.weight": torch.ones(1)}, r"qkv\.weight \(unexpected\)"),
            ({"first_stage_model.extra.in_proj_bias": torch.ones(1)}, r"in_proj_bias \(unexpected\)"),
            ({"first_stage_model.extra.weight": torch.ones(1)}, r"extra\.weight \(unexpected\)"),
            ({"cond_stage_model.transformer.extra": torch.ones(1)}, r"extra \(unexpected\)"),
            ({"model_ema.decay": torch.ones(1)}, r"two UNets.*emaonly"),
            ({"alphas_cumprod": torch.linspace(1, 0.1, 1000)}, "another noise schedule"),
            ({"model.diffusion_model.out.2.bias": torch.zeros(4, dtype=torch.int8)}, "quantised"),
            ({"model.diffusion_model.out.2.bias": torch.zeros(5)}, r"\[5\] for \[4\]"),
        ],
    )
    def test_nothing_of_it_is_ignored(
        self,
        changes: dict[str, Tensor],
        message: str,
        one_files: dict[str, Path],
        sd15_folder: Path,
        tmp_path: Path,
    ) -> None:
        save_file(load_file(one_files["sd15"]) | changes, tmp_path / "more.safetensors")
        with pytest.raises(UserError, match=message):
            load_pipeline(tmp_path / "more.safetensors", architecture=sd15_folder)

    def test_what_served_training_is_no_hindrance(
        self, one_files: dict[str, Path], sd15_folder: Path, tmp_path: Path
    ) -> None:
        """The official files hold the schedule, and the numbers of the text encoder's positions."""
        alpha_bar = DDIMScheduler(**SCALED_LINEAR).alphas_cumprod
        positions = {"cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None]}
        more = {
            "alphas_cumprod": alpha_bar,
            "betas": torch.zeros(1000),
            "first_stage_model.loss.logvar": torch.ones(1),
        }
        save_file(load_file(one_files["sd15"]) | more | positions, tmp_path / "official.safetensors")
        found = load_pipeline(tmp_path / "official.safetensors", architecture=sd15_folder)
        expected = load_pipeline(sd15_folder).encoder.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in found.encoder.state_dict().items())

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_a_schedule_that_was_rounded_with_the_weights_is_the_same(
        self, one_files: dict[str, Path], sd15_folder: Path, tmp_path: Path, dtype: torch.dtype
    ) -> None:
        stored = {"alphas_cumprod": DDIMScheduler(**SCALED_LINEAR).alphas_cumprod}
        halved = {name: value.to(dtype) for name, value in (load_file(one_files["sd15"]) | stored).items()}
        save_file(halved, tmp_path / "half.safetensors")
        assert load_pipeline(tmp_path / "half.safetensors", architecture=sd15_folder).denoiser()

    def test_another_format(self, tmp_path: Path) -> None:
        torch.save({"a": torch.zeros(1)}, tmp_path / "model.ckpt")
        with pytest.raises(UserError, match=r"model\.ckpt is not a \.safetensors file"):
            load_pipeline(tmp_path / "model.ckpt")


class TestSchedule:
    def test_it_is_the_scheduler_s(self) -> None:
        scheduler = DDIMScheduler(**SCALED_LINEAR)
        schedule = schedule_of(dict(scheduler.config))
        abar = scheduler.alphas_cumprod.double()
        torch.testing.assert_close(schedule.alpha(schedule.grid), abar.sqrt(), rtol=1e-4, atol=0)

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("beta_schedule", "linear", "beta_schedule is 'linear'; only 'scaled_linear'"),
            (
                "prediction_type",
                "sample",
                "prediction_type is 'sample'; only 'epsilon' or 'v_prediction'",
            ),
            ("rescale_betas_zero_snr", True, "rescale_betas_zero_snr is True; only False"),
            ("trained_betas", [0.1, 0.2], r"trained_betas is \[0.1, 0.2\]; only None"),
            (
                "_class_name",
                "FlowMatchEulerDiscreteScheduler",
                "a 'Flow.*', which has no noise schedule",
            ),
            ("_class_name", "EDMEulerScheduler", "has no noise schedule of betas"),
            ("_class_name", "OfALaterScheduler", "has no noise schedule of betas"),
            ("use_flow_sigmas", True, "use_flow_sigmas is True; only False"),
            ("beta_start", "0.1", r"beta_start is '0\.1'.*numbers between 0 and 1"),
            ("beta_end", float("nan"), r"beta_end nan"),
            ("beta_start", 0.5, r"beta_start is 0\.5 and its beta_end 0\.012"),
            ("num_train_timesteps", 500, "num_train_timesteps is 500; only 1000"),
            ("prediction_type", ["epsilon"], r"prediction_type is \['epsilon'\]"),
        ],
    )
    def test_others_are_refused(self, key: str, value: object, message: str) -> None:
        with pytest.raises(UserError, match=message):
            schedule_of({**DDIMScheduler(**SCALED_LINEAR).config, key: value})


class TestWhatIsWrong:
    def test_nothing_is_downloaded_unasked(self) -> None:
        with pytest.raises(UserError, match=r"nobody/nothing is not in the hub's cache.*--download"):
            load_pipeline("nobody/nothing")

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        (tmp_path / "sdxl").mkdir()
        with pytest.raises(UserError, match=r"sdx does not exist; did you mean sdxl"):
            load_pipeline(tmp_path / "sdx")

    def test_a_folder_of_something_else(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"no model_index\.json"):
            load_pipeline(tmp_path)

    @pytest.fixture
    def broken(self, sdxl_folder: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(sdxl_folder, tmp_path / "broken"))

    @pytest.mark.parametrize(
        ("part", "file"),
        [
            ("unet", "diffusion_pytorch_model.safetensors"),
            ("vae", "diffusion_pytorch_model.safetensors"),
            ("text_encoder_2", "model.safetensors"),
        ],
    )
    def test_missing_weights_are_not_made_up(self, broken: Path, part: str, file: str) -> None:
        weights = load_file(broken / part / file)
        name = sorted(weights)[0]
        save_file({key: value for key, value in weights.items() if key != name}, broken / part / file)
        with pytest.raises(UserError, match=rf"{part}: weights and config\.json do not fit: \S*{name}"):
            load_pipeline(broken)

    def test_a_part_that_is_not_there(self, broken: Path) -> None:
        shutil.rmtree(broken / "text_encoder_2")
        shutil.rmtree(broken / "vae")
        with pytest.raises(UserError, match=r"vae has no config\.json"):
            load_pipeline(broken)

    def test_its_second_text_encoder_is_not_there(self, broken: Path) -> None:
        shutil.rmtree(broken / "text_encoder_2")
        with pytest.raises(UserError, match=r"text_encoder_2 has no config\.json"):
            load_pipeline(broken)

    def test_its_tokenizer_is_not_there(self, broken: Path) -> None:
        """The message is about the folder, and not about a name on the hub that transformers would look for."""
        shutil.rmtree(broken / "tokenizer_2")
        with pytest.raises(UserError, match=r"broken has no tokenizer: there is no folder tokenizer_2; fix"):
            load_pipeline(broken)

    def test_a_vocabulary_is_not_made_up(self, broken: Path) -> None:
        """transformers makes a tokenizer of two tokens of an empty folder: every word would be the same."""
        for file in (broken / "tokenizer").iterdir():
            file.unlink()
        with pytest.raises(UserError, match=r"tokenizer has no vocabulary: neither tokenizer\.json nor .*; fix"):
            load_pipeline(broken)

    def test_a_vae_whose_channels_are_scaled_one_by_one(self, broken: Path) -> None:
        """diffusers' SDXL pipeline applies `latents_mean` and `latents_std`."""
        config = broken / "vae" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"latents_mean": [0.0] * 4}))
        with pytest.raises(UserError, match=r"the VAE's configuration has latents_mean, which .*; fix: name"):
            load_pipeline(broken)

    @pytest.mark.parametrize("named", ["sdxl/unet", "models--owner--sdxl"])
    def test_the_pipeline_near_the_folder_that_was_named(self, tmp_path: Path, named: str) -> None:
        """A part of it, or a model's folder in the hub's cache, whose versions lie deeper."""
        place = tmp_path / ("sdxl" if named == "sdxl/unet" else f"{named}/snapshots/0a1b")
        (place / "unet").mkdir(parents=True)
        (place / "model_index.json").write_text("{}")
        with pytest.raises(UserError, match=rf"has no model_index\.json: .*; fix: name {place}$"):
            load_pipeline(tmp_path / named)

    @pytest.mark.parametrize("name", ["diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.bin"])
    def test_weights_that_no_hash_would_name_are_not_read(self, broken: Path, name: str) -> None:
        (broken / "unet" / "diffusion_pytorch_model.safetensors").rename(broken / "unet" / name)
        with pytest.raises(UserError, match=rf"unet has neither .*, only config\.json, {name}: pickles and"):
            load_pipeline(broken)

    def test_a_scheduler_without_its_numbers(self, broken: Path) -> None:
        (broken / "scheduler" / "scheduler_config.json").write_text('{"beta_schedule": "scaled_linear"}')
        with pytest.raises(UserError, match=r"no beta_start, beta_end, num_train_timesteps; fix"):
            load_pipeline(broken).denoiser()

    def test_a_damaged_scheduler(self, broken: Path) -> None:
        (broken / "scheduler" / "scheduler_config.json").write_text("{")
        with pytest.raises(UserError, match=r"cannot read .*scheduler_config\.json"):
            load_pipeline(broken)


def test_what_a_user_names_is_here_or_on_the_hub(
    sd15_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(sd15_folder.parent))
    monkeypatch.chdir(tmp_path)
    assert named_folder(Path("~") / sd15_folder.name, False, []) == sd15_folder.resolve()
    for named in ("/no/such/folder", "~/sdxl-base", "sdxl", "a/b/c"):
        with pytest.raises(UserError, match=rf"{Path(named).name} does not exist"):
            named_folder(Path(named), False, [])
    (tmp_path / "models" / "sdxl").mkdir(parents=True)
    with pytest.raises(UserError, match=r"models/sdx does not exist; did you mean sdxl"):
        named_folder(Path("models/sdx"), False, [])
    with pytest.raises(UserError, match=r"owner/model is not in the hub's cache"):
        named_folder(Path("owner/model"), False, [])


def test_a_tiny_vae_from_a_folder(tmp_path: Path) -> None:
    vae = taesd()
    vae.save_pretrained(tmp_path)
    latents = normal(0, 1, 4, 8, 8)
    with torch.no_grad():
        assert torch.equal(load_tiny_vae(tmp_path).decode(latents), vae.decode(latents).sample)
    assert json.loads((tmp_path / "config.json").read_text())["_class_name"] == "AutoencoderTiny"
