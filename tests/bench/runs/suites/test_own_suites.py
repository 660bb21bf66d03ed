"""A suite of a user's own: a TOML file, which may add rows to a suite of the package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from command import output

from bench.core.errors import UserError
from bench.runs.registry import load_catalogue
from bench.runs.suites.reading import load_suite
from bench.runs.suites.settled import settled
from bench.runs.suites.suite import Suite

ROW = """
[[rows]]
method = "dmd2-strong"
label = "Ours"
tune = { lr = [3e-4, 6e-4] }
"""
EXTENDS = f'title = "With ours"\nextends = "tournament-4step"\n{ROW}'
VARIANT = (
    '[methods.dmd2-strong]\nextends = "dmd2-4step"\nsummary = "ours"\nswitches = { gan_generator_weight = 0.3 }\n'
)


def own(folder: Path, text: str, name: str = "mine") -> Suite:
    """Write a suite's file and read it."""
    path = folder / f"{name}.toml"
    path.write_text(text)
    return load_suite(str(path))


def test_rows_are_added_to_those_of_the_suite_that_it_extends(tmp_path: Path) -> None:
    mine, theirs = own(tmp_path, EXTENDS).scale("micro"), load_suite("tournament-4step").scale("micro")
    assert mine.rows[:-1] == theirs.rows
    assert (mine.rows[-1].method, mine.rows[-1].overrides) == ("dmd2-strong", {"student_steps": 4})
    assert replace(mine, rows=theirs.rows, suite=theirs.suite) == theirs


def test_other_values_replace_those_of_the_suite_that_it_extends(tmp_path: Path) -> None:
    changes = "columns = ['fd']\nset = { batch_size = 16 }\n[scales.micro]\nseeds = [3]\n"
    mine = own(tmp_path, f"extends = 'tournament-4step'\n{changes}").scale("micro")
    theirs = load_suite("tournament-4step")
    assert (mine.seeds, mine.columns, mine.task) == ((3,), ("fd",), theirs.scale("micro").task)
    assert mine.rows[0].overrides == {"student_steps": 4, "batch_size": 16}
    assert own(tmp_path, "extends = 'tournament-4step'\n").title == theirs.title


def test_a_file_that_names_scales_has_these_alone(tmp_path: Path) -> None:
    assert own(tmp_path, "extends = 'table4'\n").scales.keys() == {"micro", "paper"}
    assert own(tmp_path, "extends = 'table4'\n[scales.micro]\nseeds = [7]\n").scales.keys() == {"micro"}


def test_a_file_may_stand_for_itself(tmp_path: Path) -> None:
    scale = "[scales.micro]\ntask = 'digits'\nseeds = [0]\ncolumns = ['fd']\n"
    mine = own(tmp_path, f"title = 'Mine'\n{scale}[[scales.micro.rows]]\nmethod = 'dmd2'\nlabel = 'DMD2'\n")
    assert (mine.name, [row.label for row in mine.scale("micro").rows]) == ("mine", ["DMD2"])
    assert mine.scale("micro").suite == str(tmp_path / "mine.toml")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("mine", "extends = 'tournamnt'", "unknown suite to extend: 'tournamnt'; did you mean 'tournament'"),
        ("mine", "extends = 5", "suite 'mine' cannot be read: .*mine.toml"),
        ("mine", "title = 'no scales'", "suite 'mine' cannot be read: .*it has no 'scales'"),
        ("mine", "extends = 'table3'\nrow = 1", "scale 'micro' has an unknown key 'row'"),
        ("mine", "extends = 'table3'\nrows = 'dmd2'", "rows is 'dmd2'; fix: make it tables, such as"),
        ("mine", "extends = 'table3'\nset = 3", "suite 'mine' cannot be read"),
        ("table3", EXTENDS, "table3.toml is called as the suite table3 of the package; fix: rename the file"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, name: str, text: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        own(tmp_path, text, name)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no suite file nothing\.toml; fix: name an existing file"):
        load_suite("nothing.toml")
    with pytest.raises(UserError, match="is a folder, but a regular file is expected"):
        (tmp_path / "folder.toml").mkdir()
        load_suite(str(tmp_path / "folder.toml"))


def test_its_commands_name_file_and_plug_ins(tmp_path: Path) -> None:
    (tmp_path / "strong.toml").write_text(VARIANT)
    catalogue = load_catalogue([tmp_path / "strong.toml"])
    scale = settled(own(tmp_path, EXTENDS).scale("micro"), catalogue, tmp_path)
    assert scale.called == f"{tmp_path / 'mine.toml'} --scale micro --plugin {tmp_path / 'strong.toml'}"


def test_every_command_takes_the_file(tmp_path: Path) -> None:
    """What is missing comes with the commands that make it; the rows of the package have their results."""
    (tmp_path / "strong.toml").write_text(VARIANT)
    (tmp_path / "mine.toml").write_text(EXTENDS)
    mine, plugin, runs = (
        str(tmp_path / "mine.toml"),
        ("--plugin", str(tmp_path / "strong.toml")),
        tmp_path / "runs",
    )
    where = (*plugin, "--runs", str(runs))
    assert "Ours: tuned over lr [0.0003, 0.0006]" in output("describe", mine, *plugin)
    table = output("report", "--suite", mine, *where, "--format", "md")
    assert "| MeanFlow " in table and "| Ours " in table
    tune = f"bench tune --suite {mine} --scale micro {' '.join(plugin)} --method dmd2-strong"
    assert f"- Ours, seeds 0, 1, 2: missing; fix: `{tune}`, then `bench reproduce {mine} --scale micro" in table
    with pytest.raises(UserError, match="these are not tuned yet on fashion: dmd2-strong") as raised:
        output("reproduce", mine, *where, "--cache", str(tmp_path / "cache"))
    assert str(raised.value).endswith(f"fix: {tune}")
    assert "progressive-4step" in output("compare", "--suite", mine, *where)


def test_a_site_shows_it_with_its_plug_ins(tmp_path: Path) -> None:
    (tmp_path / "strong.toml").write_text(VARIANT)
    (tmp_path / "mine.toml").write_text(EXTENDS)
    mine, plugin = str(tmp_path / "mine.toml"), ("--plugin", str(tmp_path / "strong.toml"))
    output("site", "--suite", mine, *plugin, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "site"))
    page = (tmp_path / "site" / "suites" / "mine.html").read_text()
    assert "With ours" in page and f"bench tune --suite {mine}" in page
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.toml").write_text(EXTENDS)
    with pytest.raises(UserError, match=f"two suites are called mine: {mine} and .*; fix: rename one"):
        output("site", "--suite", mine, "--suite", str(tmp_path / "other" / "mine.toml"), *plugin, "--out", "x")


def test_two_rows_of_a_table_have_two_labels(tmp_path: Path) -> None:
    row = "[[rows]]\nmethod = 'dmd2'\nlabel = 'DMD2'\nset = {{ lr = {} }}\n"
    with pytest.raises(UserError, match="labels: 'DMD2' and 'DMD2' are the same"):
        own(tmp_path, "extends = 'tournament-4step'\n" + "".join(row.format(lr) for lr in (1e-4, 2e-4)))


def test_a_suite_s_file_that_is_called_without_its_ending_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(tmp_path, "extends = 'table4'\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no suite 'mine' of the package, but a file mine\.toml; fix: name it"):
        load_suite("mine")
