"""How much of a wanted text is in a text that was read: pure functions.

Source: the OCR reward of Flow-GRPO, arXiv:2505.05470, as CDM, arXiv:2605.06376, evaluates it.
"""

from __future__ import annotations

from bench.core.errors import UserError

QUOTE = '"'


def quoted_text(prompt: str) -> str:
    """Return the first text in double quotes of a prompt. Raises UserError if there is none to read."""
    parts = prompt.split(QUOTE)
    if len(parts) < 3 or not normalised(parts[1]):
        raise UserError(
            f"prompt {prompt!r} has no text in double quotes, which OCR accuracy looks for; fix: name "
            'prompts such as: A sign that says "OPEN"'
        )
    return parts[1]


def normalised(text: str) -> str:
    """Return a text without spaces, in lower case."""
    return text.replace(" ", "").lower()


def text_score(wanted: str, read: str) -> float:
    """Return 1 - distance / length of the wanted text, from 0 to 1.

    The distance is 0 if the wanted text is contained in the text that was read, and else Levenshtein's, which is
    capped at the wanted text's length. Both texts are normalised.
    """
    wanted, read = normalised(wanted), normalised(read)
    if wanted in read:
        return 1.0
    return 1.0 - min(edit_distance(wanted, read), len(wanted)) / len(wanted)


def edit_distance(one: str, other: str) -> int:
    """Return Levenshtein's distance: the least number of characters to insert, delete or replace."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]
