"""Time and weigh `bench site` on many records: python benchmarks/site.py [RECORDS].

Writes synthetic records (recipes with three training seeds each, on four tasks; all numbers differ) to a temporary
folder and makes the site of them. The obvious alternative is timed in the same process on the same records: a page
for each record, whose tables pandas writes (`DataFrame.to_html`), in a template that is compiled for each page.
Prints the machine, the seconds, the megabytes besides pictures, and the ratio. Charts and sheets are pictures.
"""

from __future__ import annotations

import json
import os
import platform
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

clock = time.perf_counter
processor = time.process_time
TASKS, SEEDS = 4, 3


def write_synthetic_records(folder: Path, count: int) -> None:
    """Write `count` plausible records as `folder`/TASK/RUN/record.json, made from committed ones."""
    from bench.runs.result_files import RESULTS

    draw = random.Random(0)
    models = [json.loads(path.read_text()) for path in sorted((RESULTS / "records" / "fashion").glob("dmd*.json"))]
    for number in range(count):
        record = json.loads(json.dumps(models[number // SEEDS % len(models)]))
        task, seed = f"task{number // SEEDS % TASKS}", number % SEEDS
        name = record["method"]["name"]
        run = f"{name}-s{seed}-{draw.getrandbits(40):010x}"
        values = {"lr": 1e-4 + number // SEEDS * 1e-6}
        record["method"]["passed"], record["method"]["recipe"] = values, record["method"]["recipe"] | values
        record |= {"run_id": run, "task": task, "train_seed": seed, "metrics": _varied(record["metrics"], draw)}
        record["checkpoint"]["sha256"] = f"{draw.getrandbits(256):064x}"
        record["cost"] = _varied(record["cost"], draw)
        path = folder / task / run / "record.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(record, indent=2))


def _varied(value: Any, draw: random.Random) -> Any:
    """Return plain data with every fraction changed by up to a tenth; levels of confidence stay."""
    if isinstance(value, dict):
        return {key: one if key == "level" else _varied(one, draw) for key, one in value.items()}
    if isinstance(value, list):
        return [_varied(one, draw) for one in value]
    return value * draw.uniform(0.9, 1.1) if isinstance(value, float) else value


def plain_site(folder: Path, out: Path) -> None:
    """Write a page for each record and a leaderboard for each task the obvious way."""
    import jinja2
    import pandas as pd

    from bench.report.summary import summarise, tidy
    from bench.runs.records import load_records

    source = "<title>{{ title }}</title><h1>{{ title }}</h1>{% for table in tables %}{{ table|safe }}{% endfor %}"
    records = load_records([folder]).records
    out.mkdir()
    for record in records:
        frames = [
            pd.DataFrame([metric.model_dump(exclude={"diagnostics"}) for metric in record.metrics]),
            pd.DataFrame(record.method.recipe.items(), columns=["setting", "value"]),
            pd.DataFrame(record.provenance.model_dump().items(), columns=["what", "value"]),
        ]
        template = jinja2.Environment(autoescape=True).from_string(source)
        text = template.render(title=record.run_id, tables=[frame.to_html() for frame in frames])
        (out / f"{record.task}-{record.run_id}.html").write_text(text)
    for task in {record.task for record in records}:
        summary = summarise(tidy(record for record in records if record.task == task))
        (out / f"{task}.html").write_text(summary.to_html())


def weight(site: Path) -> tuple[float, float]:
    """Return the megabytes of a site's files besides pictures, and those of its pictures."""
    import re

    pictures = others = 0
    for path in site.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            inside = sum(map(len, re.findall(rb"<svg.*?</svg>", content, re.S))) if path.suffix == ".html" else 0
            picture = path.suffix in (".png", ".svg")
            pictures += len(content) if picture else inside
            others += 0 if picture else len(content) - inside
    return others / 1e6, pictures / 1e6


def main() -> None:
    """Print one line for each figure."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_synthetic_records(folder / "runs", count)
        start, used = clock(), processor()
        from bench.report.site.build import build_site
        from bench.report.site.choice import chosen_site
        from bench.runs.records import collector_paused

        imported = clock()
        with collector_paused(), chosen_site(folder / "runs", False, [], [], []) as site:
            loaded = clock()
            pages = build_site(site, folder / "site")
        built, site_used = clock(), processor() - used
        plain_site(folder / "runs", folder / "plain")
        plain, plain_used = clock() - built, processor() - used - site_used
        others, pictures = weight(folder / "site")
        plain_weight, _ = weight(folder / "plain")
        assert len(site.entries) == count
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    print(f"{count:,} records, {pages:,} pages")
    print(f"import {imported - start:.2f} s, load {loaded - imported:.2f} s, build {built - loaded:.2f} s")
    print(f"site   {built - start:.2f} s, {site_used:.2f} s of a processor; ", end="")
    print(f"{others:.2f} MB and {pictures:.2f} MB of pictures")
    print(f"plain  {plain:.2f} s, {plain_used:.2f} s of a processor; {plain_weight:.2f} MB")
    print(f"ratio  {plain_used / site_used:.1f} in time, {plain_weight / others:.1f} in size")


if __name__ == "__main__":
    main()
