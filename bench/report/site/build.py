"""Build the site: ask every part for its pages, render them, and put the folder in place as a whole.

A further page is added by a function `(Site) -> Iterable[Page | Asset]` in a module of its own, listed in `PARTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bench.core.errors import UserError
from bench.core.files import read_bytes, whole_folder
from bench.report.site import compare_page, data, frontier, index, leaderboards, run_pages, suites
from bench.report.site.pages import Asset, Page, Site, environment, file_of

STATIC = Path(__file__).parent / "static"
MARK = ".bench-site"
"""A file of this name says that a folder is a site, and may be replaced by a newer one."""


def pictures(site: Site) -> Iterator[Asset]:
    """Copy each sample sheet once."""
    found = {picture.href: picture for entry in site.entries if (picture := site.picture(entry))}
    for href, picture in found.items():
        yield Asset(href, read_bytes(picture.source))


PARTS: tuple[Callable[[Site], Iterable[Page | Asset]], ...] = (
    index.pages,
    leaderboards.pages,
    suites.pages,
    frontier.pages,
    run_pages.pages,
    compare_page.pages,
    data.pages,
    pictures,
)


def build_site(site: Site, out: Path) -> int:
    """Write the whole site to `out` and return the number of its pages.

    Raises UserError if `out` exists and is neither an empty folder nor a site.
    """
    refuse_to_replace(out)
    templates = environment(site)
    count = 0
    with whole_folder(out) as folder:
        (folder / MARK).write_text("Written by bench site, which replaces this folder as a whole.\n")
        styles = b"".join(path.read_bytes() for path in sorted(STATIC.glob("*.css"), reverse=True))
        file_of(folder, "static/style.css").write_bytes(styles)  # one file, which pages name only once
        for path in STATIC.glob("*.js"):
            file_of(folder, f"static/{path.name}").write_bytes(path.read_bytes())
        for part in PARTS:
            for made in part(site):
                if isinstance(made, Asset):
                    file_of(folder, made.path).write_bytes(made.content)
                    continue
                text = templates.get_template(made.template).render(made.context())
                file_of(folder, made.path).write_text(text, encoding="utf-8")
                count += 1
    return count


def refuse_to_replace(out: Path) -> None:
    """Raise UserError if a path holds anything but a site or an empty folder."""
    if out.is_dir() and ((out / MARK).is_file() or not any(out.iterdir())):
        return
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} is not a site that bench wrote, and is not replaced; fix: --out ANOTHER_FOLDER")
