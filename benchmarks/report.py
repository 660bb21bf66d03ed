"""Time `bench report` on many records: python benchmarks/report.py [RECORDS].

Writes synthetic records (20 methods under one task and protocol, all seeds different) to a temporary folder,
then prints the seconds that each stage takes, in one thread.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

clock = time.perf_counter
METHODS, METRICS, REPETITIONS = 20, 4, 3


def write_synthetic_records(folder: Path, count: int) -> None:
    """Write `count` plausible records as `folder`/<run>/record.json."""
    from bench.core.files import digest
    from bench.metrics.intervals import t_interval
    from bench.metrics.result import MetricResult
    from bench.runs.record import Cost, MethodInfo, Provenance, Record

    protocol = {"name": "synthetic-10k", "samples": 10_000, "repetitions": REPETITIONS, "smoke": False}
    recipe = {f"number_{i}": i / 7 for i in range(30)}
    provenance = Provenance(
        created="2025-01-01T00:00:00+00:00",
        git_commit="0" * 40,
        git_dirty=False,
        packages={f"library-{i}": "1.0" for i in range(12)},
        python="3.11",
        platform="Linux",
        cpu="synthetic",
        gpu=None,
        threads=1,
        argv=["bench", "run"],
        precision="float32",
        tf32=False,
    )
    for i in range(count):
        metrics = []
        for m in range(METRICS):
            values = [((i * 31 + m * 17 + r * 7) % 997) / 89 for r in range(REPETITIONS)]
            mean, std, low, high = t_interval(values)
            metrics.append(
                MetricResult(
                    name=f"metric{m}",
                    title=f"Metric {m}",
                    direction="lower",
                    value=mean,
                    values=values,
                    std=std,
                    low=low,
                    high=high,
                    samples=10_000,
                    diagnostics=[{"rank": 64}] * REPETITIONS,
                )
            )
        name = f"method{i % METHODS}"
        record = Record(
            run_id=f"run{i}",
            kind="method",
            status="ok",
            method=MethodInfo(name=name, origin="synthetic", distiller="x:Y", passed={}, recipe=recipe),
            task="synthetic",
            protocol=protocol,
            protocol_sha256=digest(protocol),
            train_seed=i // METHODS,
            metrics=metrics,
            checkpoint=None,
            cost=Cost(
                iterations=1000,
                generator_updates=200,
                generated_images=64_000,
                network_evaluations=1,
                train_seconds=100.0,
                evaluate_seconds=10.0,
                threads=1,
                peak_memory_bytes=1 << 29,
                parameters=333_000,
                gpu_hours=0.0,
            ),
            weights=[],
            data=[],
            provenance=provenance,
            sampler={"steps": 1},
            error=None,
        )
        path = folder / f"run{i}" / "record.json"
        path.parent.mkdir()
        # Plain writes: whole files, which are flushed to disk one by one, are not what is timed here.
        path.write_text(record.model_dump_json(indent=2))


def main() -> None:
    """Print one line per stage."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as temporary:
        start = clock()
        from bench.report.render import to_csv, to_markdown
        from bench.report.table import task_table
        from bench.runs.records import collector_paused, load_records

        imported = clock()
        write_synthetic_records(Path(temporary), count)
        written = clock()
        with collector_paused():  # as the command does
            records, problems, _ = load_records([Path(temporary)])
            loaded = clock()
            assert (len(records), len(problems)) == (count, 0)
            table = task_table(records, "synthetic")
            compiled = clock()
            to_markdown(table)
            to_csv(table)
            rendered = clock()
    print(f"{count:,} records")
    print(f"import   {imported - start:6.2f} s")
    print(f"load     {loaded - written:6.2f} s")
    print(f"compile  {compiled - loaded:6.2f} s")
    print(f"render   {rendered - compiled:6.2f} s")
    print(f"total    {imported - start + rendered - written:6.2f} s")


if __name__ == "__main__":
    main()
