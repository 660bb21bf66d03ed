"""`bench site` writes the site and says where it is."""

from collections.abc import Callable
from pathlib import Path

from command import Printed


def test_the_committed_records_become_a_site(bench: Callable[..., Printed], tmp_path: Path) -> None:
    printed = bench("site", "--out", tmp_path / "site", "--task", "digits", "--suite", "multistep")
    assert printed.code == 0
    assert str(tmp_path / "site" / "index.html") in printed.text
    text = (tmp_path / "site" / "tasks" / "digits.html").read_text()
    assert "dmd2-4step" in text


def test_a_folder_that_is_no_site_stays(bench: Callable[..., Printed], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    printed = bench("site", "--out", tmp_path)
    assert printed.code == 2
    assert "is not a site that bench wrote, and is not replaced; fix: --out ANOTHER_FOLDER" in printed.text
    assert (tmp_path / "notes.txt").exists()
