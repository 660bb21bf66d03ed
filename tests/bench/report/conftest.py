"""Records to make tables of, and a real browser for pages."""

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bench.core.files import digest
from bench.metrics.intervals import t_interval
from bench.runs.planning import plan_run
from bench.runs.record import Record
from bench.runs.registry import Catalogue, load_catalogue

FAILURE = {"type": "OutOfMemoryError", "message": "", "traceback": "", "log_tail": []}

TABLE3 = {"dmd": 1400, "dmd-no-regression": 1400, "gan": 1400}
"""Iterations of methods with simultaneous updates in the suite of Table 3, whose budget fixes them."""

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The system's Chromium without a window; of a file, since its loop must not outlive the tests that use it."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a file as a page; at the end nothing was fetched and nothing failed."""
    complaints: list[str] = []
    contexts = []

    def open_page(path: Path, fragment: str = "", *, width: int = 1280, scheme: str = "light") -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        page.on(
            "console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda asked: (
                None if asked.url.startswith(("file:", "data:", "blob:")) else complaints.append(asked.url)
            ),
        )
        page.goto(path.as_uri() + fragment)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@cache
def installed_things() -> Catalogue:
    """Return the catalogue without plug-ins, read once."""
    return load_catalogue()


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """Return a function that makes the record of one run; `fd` has one value per generation seed.

    With `now` it has the whole recipe that the method has on the task now, as rows of suites ask for it.
    """

    def make(
        method: str = "dmd2",
        seed: int | None = 0,
        fd: tuple[float, ...] = (2.0, 2.2),
        *,
        kind: str = "method",
        protocol: str = "fashion",
        smoke: bool = False,
        failed: bool = False,
        recipe: dict[str, Any] | None = None,
        selection: str = "last",
        features: str = "ab",
        created: str = "2025-01-01T00:00:00+00:00",
        task: str = "fashion",
        nfe: int = 1,
        gpu_hours: float = 0.0,
        metric: str = "fd",
        title: str = "FD",
        extractors: dict[str, str] | None = None,
        diagnostics: list[dict[str, Any]] | None = None,
        error: str = "OutOfMemoryError",
        now: bool = False,
    ) -> Record:
        passed = {"iterations": TABLE3.get(method, 7000)} | (recipe or {})
        about: dict[str, Any] = {
            "name": method,
            "origin": "distillation-bench",
            "distiller": "methods:X",
            "passed": recipe or {},
            "recipe": {"lr": 3e-4} | passed,
        }
        if now:
            found = installed_things()
            about = plan_run(found, method, found.tasks.get(task), passed, 0, Path()).method_info.model_dump()
        mean, std, low, high = t_interval(fd)
        measured = {
            "name": metric,
            "title": title,
            "direction": "lower",
            "value": mean,
            "values": list(fd),
            "std": std,
            "low": low,
            "high": high,
            "samples": 10_000,
            "diagnostics": diagnostics or [],
        }
        declared = {"name": protocol, "samples": 10_000, "repetitions": 3, "smoke": smoke}
        declared |= {"extractors": extractors} if extractors else {}
        return Record.model_validate(
            {
                "run_id": digest([method, seed, protocol, recipe, selection, nfe]),
                "kind": kind,
                "status": "failed" if failed else "ok",
                "method": about,
                "task": task,
                "protocol": declared,
                "protocol_sha256": digest(declared),
                "train_seed": seed,
                "metrics": [] if failed else [measured],
                "checkpoint": {"iteration": 500, "selection": selection, "sha256": "0", "weights": "ema"}
                if kind == "method" and not failed
                else None,
                "cost": {
                    "iterations": 500,
                    "generator_updates": 100,
                    "generated_images": 32_000,
                    "network_evaluations": nfe,
                    "train_seconds": 110.0,
                    "evaluate_seconds": 20.0,
                    "threads": 1,
                    "peak_memory_bytes": 512 << 20,
                    "parameters": 333_000,
                    "gpu_hours": gpu_hours,
                },
                "weights": [{"role": "features", "sha256": features * 32, "bytes": 100}],
                "data": [],
                "provenance": {
                    "created": created,
                    "git_commit": None,
                    "git_dirty": None,
                    "packages": {},
                    "python": "3.11",
                    "platform": "Linux",
                    "cpu": "a laptop",
                    "gpu": "a GPU" if gpu_hours else None,
                    "threads": 1,
                    "argv": [],
                    "precision": "float32",
                    "tf32": False,
                },
                "sampler": {"steps": nfe},
                "error": FAILURE | {"type": error} if failed else None,
            }
        )

    return make
