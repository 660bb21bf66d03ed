"""The record of a study: run A's, under a protocol of the study's own, so that tables show its preference."""

from __future__ import annotations

from pathlib import Path

from bench.core.errors import UserError
from bench.core.files import digest, file_sha256
from bench.core.run_folder import RECORD
from bench.metrics.result import MetricResult
from bench.report.study.key import Key
from bench.report.study.protocol import NAME, StudyImages, StudyProtocol
from bench.report.study.results import QuestionResult, StudyResult
from bench.report.study.statistics import LEVEL
from bench.runs.record import Provenance, Record
from bench.runs.records import other_protocol_path, read_record, write_record
from bench.runs.result_files import RESULTS


def find_record(key: Key, runs: Path) -> Path | None:
    """Return the file of run A's record: in its run's folder or among the committed ones; None without one.

    Raises UserError if its content is not what the study was made of.
    """
    task, run = key.task, key.a.run_id
    committed = RESULTS / "records" / task / f"{run}.json"
    for path in (runs / task / run / RECORD, runs / f"{run}.json", committed):
        if path.is_file():
            if file_sha256(path) != key.a.record_sha256:
                raise UserError(
                    f"{path} was replaced since the study was made, so the answers are about another student; "
                    "fix: make the study again"
                )
            return path
    return None


def record_of_study(record: Record, result: StudyResult, made: Provenance) -> Record:
    """Return run A's record with the study's preference; `made` is the provenance of the reading."""
    protocol = protocol_of(result).model_dump(mode="json")
    sha256 = digest(protocol)
    return record.model_copy(
        update={
            "run_id": f"{record.run_id}-{digest([record.run_id, sha256])[:6]}",
            "protocol": protocol,
            "protocol_sha256": sha256,
            "metrics": [_metric(one, result) for one in result.questions],
            "provenance": made.model_copy(update={"argv": []}),  # names of raters' files are nobody's business
        }
    )


def write_study_record(path: Path, record: Record, runs: Path) -> Path:
    """Write a study's record into the folder of run A, whose record is `path`, or into `runs`; return its file."""
    if path.name == RECORD:
        target = other_protocol_path(path.parent, NAME, record.protocol_sha256)
    else:
        target = runs / f"{record.run_id}-{NAME}-{record.protocol_sha256[:12]}.json"
    if target.exists() and read_record(target).metrics == record.metrics:
        return target  # the same answers were read before
    write_record(target, record)
    return target


def earlier_readings(target: Path, study: str) -> list[Path]:
    """Return the other records beside `target` that are of the same study, read with other raters."""
    others = (path for path in sorted(target.parent.glob(f"*{NAME}-*.json")) if path.name[0] != ".")
    return [path for path in others if path != target and read_record(path).protocol.get("study") == study]


def protocol_of(result: StudyResult) -> StudyProtocol:
    """Return the study's protocol."""
    key = result.key
    return StudyProtocol(
        study=key.digest(),
        questions={one.question.name: one.question.words for one in result.questions},
        pairs=len(key.pairs),
        raters=len(result.raters),
        against=key.b,
        images=StudyImages(
            protocol=key.protocol,
            protocol_sha256=key.protocol_sha256,
            noise=key.noise,
            source=key.source,
            encoding=key.encoding,
        ),
        samples=len(key.pairs),
    )


def _metric(one: QuestionResult, result: StudyResult) -> MetricResult:
    pairs = one.pairs
    name = one.question.name.replace("-", " ")
    return MetricResult(
        name=one.question.name,
        title=f"{name} over {result.key.b.method}",
        direction="higher",
        value=pairs.value,
        values=[] if pairs.value is None else [pairs.value],
        std=None,
        low=pairs.low,
        high=pairs.high,
        level=LEVEL,
        samples=len(result.key.pairs),
        diagnostics=[
            {
                "pairs_won": pairs.count,
                "pairs_lost": pairs.total - pairs.count,
                "pairs_tied": one.ties,
                "p": pairs.p,
                "answers": one.answers.total,
                "answers_won": one.answers.count,
                "answers_low": one.low,
                "answers_high": one.high,
                "kappa": one.kappa,
                "left": one.left.count,
                "left_p": one.left.p,
                "fast_pairs": sum(result.fast.values()),
            }
        ],
    )
