"""Recipe values that differ between methods."""

from __future__ import annotations

from collections.abc import Callable

from bench.report.comparison.recipe_differences import recipe_differences
from bench.runs.recipes import FilledRecipes, named_recipes
from bench.runs.record import MethodInfo, Record
from bench.runs.records import load_records
from bench.runs.result_files import RESULTS


def shown(methods: list[MethodInfo]) -> dict[str, list[str]]:
    rows = recipe_differences(methods, FilledRecipes())
    return {row.field: [str(value) for value in row.values] for row in rows}


def test_only_values_that_differ_are_shown_and_those_of_the_user_are_marked(
    make_record: Callable[..., Record],
) -> None:
    methods = [make_record().method, make_record("dmd2-ema", recipe={"lr": 1e-5, "extra": "a|b"}).method]
    assert shown(methods) == {"lr": ["0.0003", "1e-05 *"], "extra": ["–", "a|b *"]}


def test_equal_numbers_are_equal_however_they_are_written(make_record: Callable[..., Record]) -> None:
    methods = [make_record(recipe={"lr": value}).method for value in (1, 1.0)]
    assert shown(methods) == {}
    methods = [make_record(recipe={"lr": value}).method for value in (1, True)]
    assert shown(methods) == {"lr": ["1 *", "true *"]}


def test_an_edited_plug_in_file_is_another_recipe_of_the_same_values(make_record: Callable[..., Record]) -> None:
    methods = [make_record().method.model_copy(update={"plugin_sha256": one * 64}) for one in "ab"]
    assert shown(methods) == {"plug-in": ["a" * 12, "b" * 12]}
    assert shown([methods[0], make_record().method]) == {"plug-in": ["a" * 12, "–"]}
    names = named_recipes(methods, FilledRecipes())
    assert sorted(name.partition(" ")[2] for name in names) == [
        "(default; plug-in aaaaaaaaaaaa)",
        "(default; plug-in bbbbbbbbbbbb)",
    ]


def test_a_record_from_before_a_field_existed_has_its_default() -> None:
    found = {record.run_id: record for record in load_records([RESULTS / "records"]).records}
    new = next(record.method for name, record in found.items() if name.startswith("dmd2-s0-b7"))
    old = new.model_copy(update={"recipe": {k: v for k, v in new.recipe.items() if k != "gradient_accumulation"}})
    assert shown([new, old]) == {}
