"""Small captioned images."""

import pytest
from captioned_forms import Picture, pictures


@pytest.fixture(scope="session")
def made() -> list[Picture]:
    return pictures()
