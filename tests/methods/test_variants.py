"""Methods as data: a TOML table is a method, in the tree and in a user's file; each error is one clear line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.runs.planning import plan_run
from bench.runs.registry import load_catalogue
from bench.training.families import read_family
from methods.recipes import DMDRecipe

GOOD = """
[methods.strong-gan]
extends = "weaker-critic"
summary = "dmd2 with ten times the GAN weight, and a slower critic"
switches = { gan_generator_weight = 0.03, critic_lr = { times = 0.5, of = "lr" } }
on.digits = { iterations = 7 }

[methods.weaker-critic]
extends = "dmd2"
summary = "dmd2 with a critic that steps twice"
switches = { critic_updates_per_generator_update = 2, gan_generator_weight = 1.0 }
"""


def written(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_is_a_method_with_the_code_of_the_one_it_extends(tmp_path: Path) -> None:
    """A variant may extend a later one in the file; later values win, and the user's values win over all."""
    path = written(tmp_path, GOOD)
    catalogue = load_catalogue([path])
    method, parent = (catalogue.methods.get(name) for name in ("strong-gan", "dmd2"))
    assert method.distiller == parent.distiller
    assert catalogue.plugins == [path] and catalogue.methods.find("strong-gan").origin == "plug-in mine.toml"
    found, plain = (one.recipe("digits", "micro", {}).model_dump() for one in (method, parent))
    changed = {
        "gan_generator_weight": 0.03,
        "critic_updates_per_generator_update": 2,
        "iterations": 7,
        "critic_lr": plain["lr"] / 2,
    }
    assert found == plain | changed
    assert method.recipe("fashion", "micro", {"critic_lr": 1.0}).model_dump()["critic_lr"] == 1.0


def test_variants_cost_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bench.runs.registry import load_catalogue;"
        f"load_catalogue([Path({str(written(tmp_path, GOOD))!r})]).methods.get('strong-gan').recipe('', '', {{}});"
        "sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_variant_of_a_plug_in_s_distiller_has_the_hash_of_its_code(tmp_path: Path) -> None:
    """The recipe contains all changes of the table; a comment in the table makes no new run."""
    code = written(
        tmp_path,
        "from methods.dmd import DMD\n"
        "class Mine(DMD):\n"
        "    'A distiller.'\n"
        "    def training_step(self, batch): return super().training_step(batch)\n",
        "mine.py",
    )
    text = '[methods.calm]\nextends = "mine"\nsummary = "calm"\nswitches = { lr = 1e-7 }\n'
    ids = []
    for extra in ("", "# a comment\n"):
        catalogue = load_catalogue([written(tmp_path, extra + text), code])  # whatever their order
        entry = catalogue.methods.find("calm")
        assert entry.plugin_sha256 == catalogue.methods.find("mine").plugin_sha256 != ""
        ids.append(plan_run(catalogue, "calm", catalogue.tasks.get("digits"), {}, 0, tmp_path).id)
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[methods.a]\nextends = ", "is not valid TOML: Invalid value"),
        ("", "describes no method; fix: add a table"),
        ("methods = 3", "bad value 3 for 'methods'; fix: write a table"),
        ("[recipes.micro]\nlr = 1", "unknown key 'recipes'; valid: methods|unknown key 'recipes'"),
        ('[methods.a]\nsummary = "s"', 'methods, a: has no "extends"'),
        ('[methods.a]\nextends = "dmd2"', "methods, a: has no 'summary'"),
        ('[methods.a]\nextends = "dmd2"\nsummary = 3', "bad value 3 for 'summary'"),
        (
            '[methods.a]\nextends = "dmd2"\nsummary = "s"\nswitchs = {}',
            "unknown key 'switchs'; did you mean 'switches'",
        ),
        ('[methods.a]\nextends = "dmd2"\nsummary = "s"\non.digits = 3', "on: bad value 3 for 'digits'"),
        ('[methods.a]\nextends = "dmd22"\nsummary = "s"', "unknown method 'dmd22'; did you mean 'dmd2'"),
        ('[methods.dmd2]\nextends = "dmd"\nsummary = "s"', "the method name 'dmd2' is used twice"),
        ('[methods.a]\nextends = "a"\nsummary = "s"', "extend each other: a -> a"),
        (
            '[methods.a]\nextends = "b"\nsummary = "s"\n[methods.b]\nextends = "a"\nsummary = "s"',
            "extend each other: a -> b -> a",
        ),
        ('[methods."a b"]\nextends = "dmd2"\nsummary = "s"', "the method name 'a b' is not valid"),
    ],
)
def test_a_mistake_is_one_line(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        load_catalogue([written(tmp_path, text)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("switches", "reason"),
    [
        ("{ gann = false }", "unknown recipe key 'gann' of method 'a'; did you mean 'gan'"),
        ("{ lr = -1 }", "bad value -1 for recipe key 'lr' of method 'a'"),
        ('{ lr = { times = 2, of = "rl" } }', "lr of method 'a' is 2 times 'rl'"),
        ('{ lr = { times = "2", of = "critic_lr" } }', "lr of method 'a' is '2' times 'critic_lr'"),
        ("{ lr = { times = 2, of = [1] } }", r"lr of method 'a' is 2 times \[1\]"),
        ('{ lr = { times = 2, of = "critic_lr" }, critic_lr = { times = 2, of = "lr" } }', "is 2 times"),
    ],
)
def test_a_bad_recipe_value_names_the_method(switches: str, reason: str, tmp_path: Path) -> None:
    text = f'[methods.a]\nextends = "dmd2"\nsummary = "s"\nswitches = {switches}'
    method = load_catalogue([written(tmp_path, text)]).methods.get("a")
    with pytest.raises(UserError, match=reason):
        method.recipe("digits", "micro", {})


def test_two_files_with_one_name_are_refused(tmp_path: Path) -> None:
    text = '[methods.a]\nextends = "dmd2"\nsummary = "s"'
    paths = [written(tmp_path, text, name) for name in ("one.toml", "two.toml")]
    with pytest.raises(UserError, match=r"'a' is used twice: by .*one\.toml and .*two\.toml"):
        load_catalogue(paths)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no plug-in file {tmp_path / 'none.toml'}"):
        load_catalogue([tmp_path / "none.toml"])


def test_a_family_s_file_lists_the_methods_of_its_distiller(tmp_path: Path) -> None:
    text = (
        'recipe = "methods.recipes:DMDRecipe"\n[recipes.micro]\nlr = 0.5\n'
        '[methods.plain]\nsummary = "p"\n[methods.more]\nextends = "plain"\nsummary = "m"\n'
        "switches = { warmup = 3 }\n"
    )
    plain, more = read_family(written(tmp_path, text), "methods.dmd:DMD")
    assert isinstance(more.recipe("x", "micro", {}), DMDRecipe)
    assert (more.values("x", "micro"), plain.values("x", "paper")) == ({"lr": 0.5, "warmup": 3}, {})
    with pytest.raises(UserError, match="unknown method 'plan'; did you mean 'plain'"):
        read_family(written(tmp_path, text.replace('extends = "plain"', 'extends = "plan"')), "methods.dmd:DMD")
