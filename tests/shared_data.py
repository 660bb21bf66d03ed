"""Public data that lies beside the repository, in ../shared/data; a test that needs it is skipped without it."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "shared" / "data"


def shared_file(name: str) -> Path:
    """Return the path of a file in ../shared/data, or skip the test."""
    if not (FOLDER / name).is_file():
        pytest.skip(f"../shared/data/{name} is not there")
    return FOLDER / name
