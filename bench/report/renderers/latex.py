"""Foreign text as LaTeX that pdflatex compiles without further packages."""

from __future__ import annotations

import re
import unicodedata

from bench.core.escape import printable

_PLAIN = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textquoteleft{}",
    "[": "{[}",  # at the start of a row it would be an argument of the row before it, as a star would be
    "*": "{*}",
}
_SYMBOLS = {
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "−": "$-$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "°": r"$^{\circ}$",
    "²": "$^2$",
    "³": "$^3$",
    "\u00a0": "~",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
}
_GREEK = {
    letter: rf"$\{name}$"
    for letter, name in (
        *(("α", "alpha"), ("β", "beta"), ("γ", "gamma"), ("δ", "delta"), ("ε", "epsilon"), ("η", "eta")),
        *(("θ", "theta"), ("κ", "kappa"), ("λ", "lambda"), ("μ", "mu"), ("π", "pi"), ("ρ", "rho")),
        *(("σ", "sigma"), ("τ", "tau"), ("φ", "phi"), ("ψ", "psi"), ("ω", "omega"), ("Δ", "Delta")),
        *(("Σ", "Sigma"), ("Φ", "Phi"), ("Ω", "Omega")),
    )
}
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}
_KNOWN = _PLAIN | _SYMBOLS | _GREEK


def tex(text: object) -> str:
    """Return text that LaTeX prints literally: no command, no mathematics, no end of a cell or a line.

    Accented letters, much of Greek, arrows and the usual signs are set; any other character outside ASCII is
    written as its number, such as U+4E2D, since the fonts of pdflatex have none of it.
    """
    plain = unicodedata.normalize("NFC", printable(text))
    return "-{}".join("".join(map(_shown, part)) for part in re.split("-(?=-)", plain))  # two hyphens are no dash


def _shown(letter: str) -> str:
    if letter in _KNOWN:
        return _KNOWN[letter]
    if letter.isascii():
        return letter
    base, *marks = list(unicodedata.normalize("NFD", letter))
    if base.isascii() and base.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS:
        return rf"\{_ACCENTS[marks[0]]}{{{base}}}"
    return f"U+{ord(letter):04X}"
