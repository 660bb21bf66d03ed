"""Read lists of prompts from any of their file formats, and identify them by a hash."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import UserError, first_line, nearest, unknown
from bench.core.extras import optional_module
from bench.core.files import digest, human_size, regular_file
from bench.core.safe_pickle import UnsafePickleError, reading, shown, unpickle
from bench.data.plain import is_unicode, json_of, kind_of, refuse_repeated, text_of
from bench.data.source import read_bytes

COLUMNS = ("prompt", "caption", "text")
"""Names of the column that holds the prompts, in any case; the first that is present is taken."""

EXPECTED = f"give an array of texts, or an object with one under {' or '.join(COLUMNS)}"
"""What a JSON file or a pickle of prompts has to hold."""
MAX_TEXT = 1 << 30
"""Largest list of prompts, in bytes on disk and decoded: 200 times the largest published one."""

Table = Mapping[str, Sequence[Any]]
"""Columns by name; a file that holds a single list without a name has the column ''."""


@dataclass(frozen=True)
class PromptList:
    """Prompts in a fixed order; two lists are the same if their hashes are."""

    name: str
    prompts: tuple[str, ...]
    sha256: str
    """Hash of the JSON array of all prompts (bench.core.files.digest); prompts may hold any separator."""
    source: str
    """The name of the file or the rule that the prompts come from. It is not part of the hash."""
    categories: tuple[str, ...] = ()
    """The category of each prompt, where the file gives one, to split scores by. It is not part of the hash."""

    @classmethod
    def of(cls, name: str, prompts: Sequence[str], source: str, categories: Sequence[str] = ()) -> PromptList:
        """Build a list from `prompts` and hash them. Raises UserError if there are none or if one is not text.

        Raises ValueError unless there are as many categories as prompts, or none.
        """
        if not prompts:
            raise UserError(
                f"{source} holds no prompts; fix: name a file with one prompt a line, or a table of them"
            )
        for number, prompt in enumerate(prompts):
            if not isinstance(prompt, str):
                raise UserError(f"{source}: prompt {number} is {kind_of(prompt)}, not text; fix: {EXPECTED}")
            if not is_unicode(prompt):
                raise UserError(
                    f"{source}: prompt {number} holds half a character (a lone surrogate); fix: write it again"
                )
        if len(categories) not in (0, len(prompts)):
            raise ValueError(f"{len(categories)} categories of {len(prompts)} prompts")
        return cls(name, tuple(prompts), digest(list(prompts)), source, tuple(categories))

    def __len__(self) -> int:
        return len(self.prompts)

    def __iter__(self) -> Iterator[str]:
        return iter(self.prompts)

    def empty(self) -> list[int]:
        """Return the numbers of the prompts that are empty or blank; such an image is made without a text."""
        return [number for number, prompt in enumerate(self.prompts) if not prompt.strip()]

    def unique(self) -> PromptList:
        """Return the list with each prompt only at its first position; its name ends in `-unique`."""
        return PromptList.of(f"{self.name}-unique", tuple(dict.fromkeys(self.prompts)), self.source)


def read_prompts(path: Path, name: str | None = None, column: str | None = None) -> PromptList:
    """Read a list of prompts; `name` is by default the name of the file without its suffix.

    A `.txt` has one prompt per line; surrounding blanks and empty lines are removed, as in the official code.
    `.tsv`, `.parquet`, `.json` and `.pkl` are read exactly as stored, as the official code reads its pickles.
    Tables have the prompts in `column`, by default the first of COLUMNS. A pickle or JSON may be a list of texts
    or a dictionary of lists; COCO's captions file gives all captions in its own order.
    Raises UserError if the file or column is missing or the file is damaged; a pickle that imports or calls
    anything is refused (UnsafePickleError). Source: official-dmd2 2.8, metrics-and-protocols P2.
    """
    path = path.expanduser()
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise unknown("kind of prompt file", path.suffix or path.name, READERS)
    if not path.exists():
        raise _missing(path)
    regular_file(path)
    try:
        table = read(path)
    except csv.Error as error:
        raise UserError(f"{path} is not a table of texts ({error}); fix: download it again") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; fix: make it readable") from error
    except MemoryError:
        raise UserError(f"{path} needs more memory than this machine has; fix: download it again") from None
    prompts = table[_column(path, table, column)]
    return PromptList.of(name or path.stem, prompts, path.name)


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a `.tsv` file with a header, such as PartiPrompts; quotes are part of the text, not of the format.

    Raises UserError if a line has more or fewer fields than the header, or if there is only the header.
    """
    with _text_file(path, newline="") as file:
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        header = next(reader, [])
        refuse_repeated(path, header)
        rows = []
        for fields in reader:
            if len(fields) != len(header):
                raise UserError(
                    f"{path}: line {reader.line_num} has {len(fields)} fields, but its header has "
                    f"{len(header)} ({', '.join(header)}); fix: download it again"
                )
            rows.append(dict(zip(header, fields, strict=True)))
    if not rows:
        raise UserError(f"{path} holds no rows below its header; fix: download it again")
    return rows


def caption_column(names: Iterable[str]) -> str | None:
    """Return the first of COLUMNS that is among `names` in any case, in the spelling of `names`."""
    by_lower = {name.lower(): name for name in reversed(list(names))}
    return next((by_lower[name] for name in COLUMNS if name in by_lower), None)


def _text_file(path: Path, newline: str | None = None) -> io.StringIO:
    """Open a UTF-8 file of at most MAX_TEXT bytes as `open` does; pipes and devices are refused."""
    return io.StringIO(text_of(read_bytes(path, MAX_TEXT), str(path)), newline=newline)


def _text(path: Path) -> Table:
    with _text_file(path) as file:
        return {"": [stripped for line in file if (stripped := line.strip())]}


def _tsv(path: Path) -> Table:
    rows = read_table(path)
    return {name: [row[name] for row in rows] for name in rows[0]}


def _parquet(path: Path) -> Table:
    pq = optional_module("pyarrow.parquet", "reading parquet files", "imagenet")
    arrow = optional_module("pyarrow", "reading parquet files", "imagenet")
    try:
        with pq.ParquetFile(path) as parquet:
            texts = [
                field.name
                for field in parquet.schema_arrow
                if arrow.types.is_string(field.type) or arrow.types.is_large_string(field.type)
            ]
            refuse_repeated(path, parquet.schema_arrow.names)
            table: dict[str, list[Any]] = {name: [] for name in texts}
            # A small file can repeat a dictionary-encoded text a million times, so few rows are decoded at once.
            stored = max(1, _stored_bytes(parquet.metadata))
            rows, size = max(1, min(1024, MAX_TEXT // stored)), 0
            for batch in parquet.iter_batches(rows, columns=texts, use_threads=False) if texts else ():
                size += batch.nbytes
                if size > MAX_TEXT or stored > MAX_TEXT:
                    raise UserError(
                        f"{path} holds more than {human_size(MAX_TEXT)} of text; fix: keep only the prompts in it"
                    )
                for name in texts:
                    table[name] += batch.column(name).to_pylist()
    except (arrow.ArrowException, OSError) as error:
        raise UserError(
            f"{path} is not a parquet file or is cut short ({first_line(error)}); fix: download it again"
        ) from error
    return table


def _stored_bytes(metadata: Any) -> int:
    """Return the size in bytes of all columns of a parquet file after decompression, from its footer."""
    return sum(int(metadata.row_group(group).total_byte_size) for group in range(metadata.num_row_groups))


def _json(path: Path) -> Table:
    content = json_of(read_bytes(path, MAX_TEXT), str(path), EXPECTED)
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        try:
            return {"caption": [row["caption"] for row in content["annotations"]]}
        except (TypeError, KeyError):
            raise UserError(f"{path}: its annotations are not captions; fix: name captions_val2014.json") from None
    return _columns(path, content)


def _pickle(path: Path) -> Table:
    return _columns(path, read_literal_pickle(path))


def read_literal_pickle(path: Path) -> Any:
    """Read a pickle of texts, numbers, and lists, tuples and dictionaries of them, and of nothing else.

    Raises UnsafePickleError, a UserError that names the file and what it asks for, at anything else; UserError if
    it cannot be read.
    """
    with reading(path, "plain data", "save the prompts as text, one a line"):
        file = io.BytesIO(read_bytes(path, MAX_TEXT))
        content = unpickle(file, {}, "a list of prompts")
        if rest := len(file.read()):
            raise UnsafePickleError(f"has {rest:,} bytes after its end, and they would be lost")
        return content


def _columns(path: Path, content: Any) -> Table:
    """Convert one list, or a dictionary of lists, to a table."""
    if isinstance(content, list | tuple):
        return {"": content}
    if isinstance(content, dict):
        lists = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, list | tuple)}
        if lists:
            return lists
    raise UserError(f"{path} holds {kind_of(content)}, not a list of prompts; fix: {EXPECTED}")


def _column(path: Path, table: Table, wanted: str | None) -> str:
    """Select the column of prompts: the wanted one, one with a known name, or the only one."""
    if wanted is not None:
        if wanted not in table:
            raise UserError(f"{path}: {unknown('column', wanted, table)}")
        return wanted
    if known := caption_column(table):
        return known
    if len(table) == 1:
        return next(iter(table))
    names = shown(", ".join(table)) or "none of text"
    raise UserError(f"{path} has the columns {names}; fix: name the column of prompts {' or '.join(COLUMNS)}")


def _missing(path: Path) -> UserError:
    """Build the error for a missing file; it suggests files in the same folder with similar names."""
    files = (file for file in path.parent.glob("*") if file.is_file())
    beside = sorted(file.name for file in files if file.suffix.lower() in READERS)
    close = nearest(path.name, beside)
    hint = f"did you mean {' or '.join(close)}?" if close else f"fix: name a {', '.join(READERS)} file"
    return UserError(f"{path}: no such file; {hint}")


READERS: Mapping[str, Callable[[Path], Table]] = {
    ".txt": _text,
    ".tsv": _tsv,
    ".parquet": _parquet,
    ".json": _json,
    ".pkl": _pickle,
}
