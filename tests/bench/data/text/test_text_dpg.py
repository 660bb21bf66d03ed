"""DPG-Bench's published table: every row is read as it is, or refused by its number."""

import csv
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.data.text.dpg import Question, dpg_prompts, read_dpg

HEADER = (
    *("item_id", "text", "keywords", "proposition_id", "dependency", "category_broad", "category_detailed"),
    *("tuple", "question_natural_language"),
)
Row = tuple[str, str, str, str, str, str]


def row(item: str, number: int | str, parents: str, tuple_: str = "entity - whole (dog)", text: str = "") -> Row:
    return item, text or f"a prompt, {item}", str(number), parents, tuple_, f"Is it so, {number}?"


def written(path: Path, *rows: Row) -> Path:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(HEADER)
        for item, text, number, parents, tuple_, question in rows:
            table.writerow((item, text, "", number, parents, "", "", tuple_, question))
    return path


def test_prompts_have_their_questions_in_the_order_of_the_file(tmp_path: Path) -> None:
    rows = (row("a", 1, "0"), row("a", 2, "1", "attribute - color (dog, red)"), row("b", 1, "0", "global (photo)"))
    first, second = read_dpg(written(tmp_path / "dpg.csv", *rows))
    assert first.questions == (
        Question(1, "Is it so, 1?", (), "entity", first_row=True),
        Question(2, "Is it so, 2?", (1,), "attribute"),
    )
    assert (second.item, second.questions[0].category) == ("b", "global")
    assert dpg_prompts(tmp_path / "dpg.csv").prompts == ("a prompt, a", "a prompt, b")


def test_a_question_may_depend_on_several_and_on_a_later_one(tmp_path: Path) -> None:
    (prompt,) = read_dpg(written(tmp_path / "dpg.csv", row("a", 1, "2,3"), row("a", 2, "0"), row("a", 3, "2")))
    assert [question.parents for question in prompt.questions] == [(2, 3), (), (2,)]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ((row("a", 1, "4"),), "question 1 depends on 4, which is not there"),
        ((row("a", 1, "2"), row("a", 2, "1")), r"questions \[1, 2\] depend on each other in a circle"),
        ((row("a", 1, "1"),), r"questions \[1\] depend on each other"),
        ((row("a", 1, "0"), row("a", 1, "0")), "row 2: item 'a' has two questions 1"),
        ((row("a", 1, "0"), row("b", 1, "0"), row("a", 2, "0")), "row 3: the rows of item 'a' are not together"),
        ((row("a", 1, "0"), row("a", 2, "0", text="other")), "row 2: item 'a' has another text"),
        ((row("a", "one", "0"),), "row 1: proposition_id 'one'"),
        ((row("a", 1, ""),), "row 1 has no dependency"),
        ((row("a", 1, "0", "colour (red)"),), "unknown category .* 'colour'"),
        ((row("a", 1, "0", text="t"), row("b", 2, "0", text="t")), "items 'a' and 'b' have one text"),
        ((), "no rows"),
    ],
)
def test_a_table_with_a_mistake_is_refused(rows: tuple[Row, ...], why: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=why):
        read_dpg(written(tmp_path / "dpg.csv", *rows))


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """The second was taken, and may hold other texts."""
    path = written(tmp_path / "dpg.csv", row("a", 1, "0"))
    path.write_text(path.read_text().replace("keywords", "text"))
    with pytest.raises(UserError, match=r"dpg\.csv has two columns 'text'; fix: rename one of them"):
        read_dpg(path)


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dpg.csv").write_text("item_id,text\na,b\n")
    with pytest.raises(UserError, match="no column proposition_id, dependency, tuple"):
        read_dpg(tmp_path / "dpg.csv")
