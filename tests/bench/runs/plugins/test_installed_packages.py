"""The code of installed plug-ins is part of what identifies their results, as that of plug-in files is."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bench.core.files import file_sha256
from bench.runs.plugins.kinds import KINDS
from bench.runs.plugins.packages import package_sha256
from bench.runs.registry import Registry, load_catalogue


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules that is searched for imports, with a package in it that cannot be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("their_distiller/__init__.py", "their_distiller/parts/losses.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("raise RuntimeError('nothing imports it')\n")
    return tmp_path


def sha256_now(module: str) -> str:
    """Return the hash as another process would compute it now."""
    package_sha256.cache_clear()
    return package_sha256(module)


@pytest.mark.parametrize("changed", ["parts/losses.py", "new.py", "methods.toml"])
def test_every_file_of_code_of_a_package_is_part_of_its_hash(library: Path, changed: str) -> None:
    before = sha256_now("their_distiller.method")
    assert len(before) == 64 and sha256_now("their_distiller") == before
    (library / "their_distiller" / changed).write_text("# edited\n")
    assert sha256_now("their_distiller.method") != before


def test_what_is_no_code_of_a_package_is_not(library: Path) -> None:
    before = sha256_now("their_distiller")
    (library / "their_distiller" / "__pycache__").mkdir()
    for name in ("their_distiller/__pycache__/method.cpython-311.pyc", "their_distiller/weights.bin", "other.py"):
        (library / name).write_text("something")
    assert sha256_now("their_distiller") == before


def test_a_module_has_the_hash_of_its_file_and_a_package_in_a_namespace_its_own(library: Path) -> None:
    for name in ("their_only_module.py", "their_space/first/__init__.py", "their_space/second/__init__.py"):
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text(f"# {name}\n")
    assert sha256_now("their_only_module") == file_sha256(library / "their_only_module.py")
    first = sha256_now("their_space.first.method")
    (library / "their_space" / "second" / "more.py").touch()
    assert sha256_now("their_space.first.method") == first != sha256_now("their_space.second.method")


@pytest.mark.parametrize("module", ["no_such_module_is_installed", "no_such.module", "their_distiller_gone.a.b"])
def test_a_package_that_is_not_there_has_no_hash(module: str) -> None:
    assert sha256_now(module) == ""


def test_installed_plugins_have_the_hash_of_their_package_and_what_comes_with_this_one_has_none() -> None:
    point = EntryPoint("theirs", "their_distiller.method:Theirs", "bench.methods")
    methods: Registry[object] = Registry.installed(KINDS["method"], [(point, "their-distiller 1.0")])
    assert methods.find("theirs").plugin_sha256 == sha256_now("their_distiller") != ""
    catalogue = load_catalogue()
    ours = [entry for registry in catalogue.registries.values() for entry in registry]
    assert {entry.plugin_sha256 for entry in ours if entry.origin.startswith("distillation-bench ")} == {""}


def test_a_family_of_an_installed_package_and_variants_of_it_have_its_hash(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = library / "their_family"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "method.py").write_text("raise RuntimeError('a listing imports no family')\n")
    (package / "method.toml").write_text(
        'recipe = "methods.recipes:RegressionRecipe"\n[methods.theirs]\nsummary = "theirs"\n'
    )
    point = EntryPoint("theirs", "their_family.method:Theirs", "bench.methods")
    monkeypatch.setattr("bench.runs.registry._points", lambda _: iter([(point, "their-family 1.0")]))
    variant = library / "variants.toml"
    variant.write_text('[methods.mine]\nextends = "theirs"\nsummary = "mine"\nswitches = { iterations = 3 }\n')
    found = load_catalogue([variant]).methods
    assert found.find("theirs").plugin_sha256 == sha256_now("their_family") != ""
    assert found.find("mine").plugin_sha256 == sha256_now("their_family")
