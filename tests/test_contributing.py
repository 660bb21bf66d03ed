"""The workflow and the page for contributors against the command line, so that they cannot go out of date."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from bench.cli import command_line

ROOT = Path(__file__).parent.parent
WORKFLOW = ROOT / ".github" / "workflows" / "site.yml"
PAGES = ("CONTRIBUTING.md", "docs/sharing.md")


def workflow() -> dict[Any, Any]:
    """Return the workflow; YAML reads the key `on` as true."""
    found: dict[Any, Any] = yaml.safe_load(WORKFLOW.read_text())
    return found


def steps() -> list[dict[str, Any]]:
    """Return the steps of all its jobs."""
    return [step for job in workflow()["jobs"].values() for step in job["steps"]]


def bench_lines(text: str) -> list[str]:
    """Return the lines of a script that call `bench`."""
    return [line.strip() for line in text.splitlines() if line.strip().startswith("bench ")]


COMMANDS = {
    f"{path}: {line}": line
    for path in PAGES
    for line in bench_lines((ROOT / path).read_text())
    if "|" not in line.partition("#")[0]
} | {f"site.yml: {line}": line for step in steps() for line in bench_lines(step.get("run", ""))}


@pytest.mark.parametrize("line", COMMANDS.values(), ids=COMMANDS)
def test_every_command_exists_with_its_options(line: str) -> None:
    arguments = shlex.split(line, comments=True)[1:]
    command: Any = typer.main.get_command(command_line())
    context = command.make_context("bench", list(arguments))
    while hasattr(command, "resolve_command"):
        name, command, arguments = command.resolve_command(context, arguments)
        context = command.make_context(name, list(arguments), parent=context)


def test_the_workflow_checks_the_records_before_it_makes_the_site() -> None:
    lines = [line for step in steps() for line in bench_lines(step.get("run", ""))]
    assert lines == ["bench records check results/records", "bench site --out site"]
    uploads = [step["with"]["path"] for step in steps() if "upload" in step.get("uses", "")]
    assert uploads == ["site", "site"]


def test_the_workflow_may_only_read_and_publish_pages() -> None:
    """Code of a pull request runs in it, so that it gets no token that can write, and no secret."""
    found = workflow()
    assert found["permissions"] == {"contents": "read"}
    assert found[True] == {"push": {"branches": ["main"]}, "pull_request": None}
    build, deploy = found["jobs"]["build"], found["jobs"]["deploy"]
    assert "permissions" not in build
    assert deploy["permissions"] == {"pages": "write", "id-token": "write"}
    assert deploy["if"] == "github.event_name == 'push'" and deploy["needs"] == "build"
    assert "secrets." not in WORKFLOW.read_text()


def test_the_workflow_names_its_actions_by_major_version_and_no_text_of_others_in_scripts() -> None:
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used and all(re.fullmatch(r"actions/[a-z-]+@v\d+", name) for name in used)
    assert not any("${{" in step.get("run", "") for step in steps())


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_the_page_leads_to_a_file(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text())
    assert links and all(((ROOT / page).parent / link).exists() for link in links)
