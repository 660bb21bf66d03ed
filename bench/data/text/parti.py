"""Read all PartiPrompts, or select our own 128 for diversity, since LADD's 128 were never published."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from bench.core.errors import UserError
from bench.core.files import digest
from bench.data.text.prompts import PromptList, read_prompts, read_table

SEED = 0
COUNT = 128
OURS = f"parti-{COUNT}-ours"
CATEGORY = "Category"


def parti(path: Path) -> PromptList:
    """Read all prompts of PartiPrompts.tsv, each once: 1,632 in the file of google-research/parti.

    Raises UserError if the file is missing or damaged.
    """
    listed = read_prompts(path, name="parti", column="Prompt")
    prompts, category = tuple(dict.fromkeys(listed)), _categories(path)
    return PromptList.of(
        listed.name, prompts, listed.source, [category[one] for one in prompts] if category else ()
    )


def _categories(path: Path) -> dict[str, str]:
    """Return the category of each prompt; empty if the file has no such column."""
    rows = read_table(path) if path.suffix.lower() == ".tsv" else []
    return {row["Prompt"]: row[CATEGORY] for row in rows if CATEGORY in row}


def parti_128(path: Path) -> PromptList:
    """Select 128 prompts of PartiPrompts.tsv in the order of the file, in proportion to the categories.

    The shares of the categories are rounded by largest remainder. Within a category the prompts with the
    smallest hashes (with SEED) are taken, so the selection depends neither on a library's random numbers nor on
    the order of the file. This is not the
    list of LADD or DMD2 (metrics-and-protocols, P6), hence its name `parti-128-ours`.
    Raises UserError if the file is missing, damaged or has fewer prompts.
    """
    every = parti(path)
    if not every.categories:
        raise UserError(f"{path} has no column {CATEGORY}; fix: name PartiPrompts.tsv of google-research/parti")
    prompts = every.prompts
    category = dict(zip(prompts, every.categories, strict=True))
    members: dict[str, list[str]] = defaultdict(list)
    for prompt in prompts:
        members[category[prompt]].append(prompt)
    if len(prompts) < COUNT:
        raise UserError(
            f"{path} has {len(prompts)} prompts, but {OURS} needs {COUNT}; "
            "fix: name PartiPrompts.tsv of google-research/parti"
        )
    shares = largest_remainder({name: len(group) for name, group in members.items()}, COUNT)
    chosen = {
        prompt
        for name, group in members.items()
        for prompt in sorted(group, key=lambda prompt: digest([SEED, prompt]))[: shares[name]]
    }
    source = f"{path.name}: {COUNT} of {len(prompts)}, stratified by {CATEGORY}, seed {SEED}"
    kept = tuple(prompt for prompt in prompts if prompt in chosen)
    return PromptList.of(OURS, kept, source, [category[prompt] for prompt in kept])


def largest_remainder(sizes: Mapping[str, int], count: int) -> dict[str, int]:
    """Divide `count` seats in proportion to `sizes` (Hamilton's method); ties go to the earlier name.

    The shares sum to `count`, and each differs from its exact quota by less than one.
    """
    total = sum(sizes.values())
    shares = {name: count * size // total for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: (-(count * sizes[name] % total), name))
    for name in by_remainder[: count - sum(shares.values())]:
        shares[name] += 1
    return shares
