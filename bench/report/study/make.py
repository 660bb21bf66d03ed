"""Making a study: pairs in random order and on random sides, the page that shows them, and its key."""

from __future__ import annotations

import datetime
import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path

from bench.core.errors import UserError
from bench.core.files import file_sha256, whole_folder, write_text
from bench.core.locks import lock_of, locked
from bench.report.study.images import Shown, Subject
from bench.report.study.key import PAGE, Half, Key, KeyPair, key_path, write_key
from bench.report.study.key import Subject as KeySubject
from bench.report.study.page import ShownPair, encoding_of, page, picture
from bench.report.study.protocol import QUESTIONS
from bench.runs.records import moved_aside

LEAST_SEED = 2**64
"""A seed that can be guessed gives the sides away to whoever has the page and this program."""
MOST_SEED = 2**128


def secret_seed(given: int | None) -> int:
    """Return the seed of a study: the given one, or a random one. Raises UserError for one that can be guessed."""
    if given is None:
        return LEAST_SEED + secrets.randbelow(MOST_SEED - LEAST_SEED)
    if not LEAST_SEED <= given < MOST_SEED:
        raise UserError(
            f"--seed {given} could be guessed, and with it which image is whose; fix: leave it out, so that a "
            f"random one is drawn and kept in the key, or give a secret number from {LEAST_SEED} to 2**128 - 1"
        )
    return given


def refuse_existing(folder: Path) -> None:
    """Raise UserError if a study is in the folder already: its raters' answers could not be read any more."""
    key = key_path(folder)
    for path in (folder, key):
        if path.exists():
            cut = "" if folder.exists() else f", or, if its making was cut short, {moved_aside(key)}"
            raise UserError(f"{path} exists, and is not overwritten; fix: --out another folder{cut}")


def check_same(subjects: Sequence[Subject], shown: Sequence[Shown]) -> None:
    """Raise UserError unless both runs' images have the same noise, conditions and size."""
    (a, b), (first, second) = subjects, shown
    both = f"{a.record.run_id} and {b.record.run_id}"
    if (first.noise, first.prompts, first.samples) != (second.noise, second.prompts, second.samples):
        raise UserError(f"the images of {both} have other noise or prompts; fix: compare runs of one protocol")
    if first.images.shape != second.images.shape:
        sizes = " and ".join("x".join(map(str, one.images.shape[1:])) for one in shown)
        raise UserError(f"the images of {both} have the sizes {sizes}; fix: compare runs of one size")


def make_study(folder: Path, subjects: Sequence[Subject], shown: Sequence[Shown], source: str, seed: int) -> Path:
    """Write the page of a study of runs A and B into a new folder, and its key beside the folder.

    Returns the key's file. The seed alone decides names and sides, through SHA-256: without it, the names of the
    pairs, by which the page orders them, say nothing about samples or sides.
    """
    check_same(subjects, shown)
    first, second = shown
    prompts = first.prompts or ("",) * len(first.images)
    places = sorted(range(len(prompts)), key=lambda place: _drawn(seed, "name", place))
    keyed, pairs = [], []
    for place in places:
        name = _drawn(seed, "name", place)[:16]
        a: Half = "first" if int(_drawn(seed, "side", place), 16) % 2 == 0 else "second"
        halves = [first.images[place], second.images[place]][:: 1 if a == "first" else -1]
        keyed.append(KeyPair(name=name, sample=first.samples[place], prompt=prompts[place], a=a))
        pairs.append(ShownPair(name, prompts[place], picture(*halves)))
    height, width = first.images.shape[1:3]
    questions = QUESTIONS if any(prompts) else QUESTIONS[:1]
    record = subjects[0].record
    key = Key.model_validate(
        {
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "task": record.task,
            "protocol": str(record.protocol.get("name", "")),
            "protocol_sha256": record.protocol_sha256,
            "source": source,
            "a": _keyed(subjects[0]),
            "b": _keyed(subjects[1]),
            "noise": first.noise,
            "seed": f"{seed:x}",
            "encoding": encoding_of(height, width),
            "questions": [question.name for question in questions],
            "pairs": keyed,
        }
    )
    with locked(lock_of(folder)), whole_folder(folder) as temporary:
        refuse_existing(folder)  # under the lock: another command may have made a study there
        write_text(temporary / PAGE, page(key.digest(), questions, pairs, height, width))
        # The key is first: a page without its key would be answered in vain.
        write_key(key_path(folder), key, file_sha256(temporary / PAGE))
    return key_path(folder)


def _drawn(seed: int, what: str, place: int) -> str:
    """Return 64 hexadecimal digits that are random to whoever does not know the seed."""
    return hashlib.sha256(f"{seed:x} {what} {place}".encode()).hexdigest()


def _keyed(subject: Subject) -> KeySubject:
    record = subject.record
    return KeySubject(
        run_id=record.run_id,
        method=record.method.name,
        train_seed=record.train_seed,
        checkpoint_sha256=record.checkpoint.sha256 if record.checkpoint else "",
        record_sha256=subject.record_sha256,
    )
