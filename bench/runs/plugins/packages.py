"""The code of installed packages that register something: its hash tells results of its versions apart."""

from __future__ import annotations

import importlib.util
from functools import cache
from itertools import accumulate
from pathlib import Path

from bench.core.files import file_sha256, folder_sha256

CODE = ("**/*.py", "**/*.toml")
"""The files of a package that are its code: families of methods are TOML files."""


@cache
def package_sha256(module: str) -> str:
    """Return the SHA-256 of the code of the package that has a module; empty if there is none, as loading it says.

    It is that of all its Python and TOML files with their paths, or that of the file of a module in no package.
    What it imports from other packages is not part of it. The package is not imported.
    """
    for name in accumulate(module.split("."), "{}.{}".format):
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            return ""
        if spec is not None and spec.origin is not None:  # a namespace, which others may share, has no file
            path = Path(spec.origin)
            return folder_sha256(path.parent, CODE) if spec.submodule_search_locations else file_sha256(path)
    return ""
