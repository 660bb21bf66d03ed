"""clean-fid's own code, for comparisons: it calls scipy's square root as scipy before 1.18 let it."""

from __future__ import annotations

import inspect
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.linalg import sqrtm


def clean_fid() -> ModuleType:
    """Return clean-fid's module `fid`; without the package the test is skipped."""
    fid: Any = pytest.importorskip("cleanfid.fid", reason="clean-fid is not installed")
    if "disp" not in inspect.signature(sqrtm).parameters:
        fid.linalg = SimpleNamespace(sqrtm=_sqrtm)
    found: ModuleType = fid
    return found


def _sqrtm(matrix: np.ndarray, disp: bool = True) -> Any:
    """Return the square root, and without `disp` its error too, of which clean-fid makes no use."""
    return sqrtm(matrix) if disp else (sqrtm(matrix), 0.0)
