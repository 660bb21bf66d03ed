"""Time our Fréchet distance against the usual one through scipy.linalg.sqrtm, on one thread.

Run from the repository's root: python benchmarks/frechet.py
"""

from __future__ import annotations

import platform
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy
import scipy.linalg
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.metrics.frechet import frechet_distance

DIMENSIONS, SAMPLES, ROUNDS, THREADS, SEED = 2048, 6000, 3, 1, 0

Gaussian = tuple[np.ndarray, np.ndarray]


def fitted_gaussian(rng: np.random.Generator, offset: float, scale: float) -> Gaussian:
    """Return mean and covariance of synthetic features whose spectrum decays like Inception's: 3 to 3e-5."""
    deviations = scale * np.sqrt(3 * np.exp(-np.linspace(0, 11.5, DIMENSIONS)))
    features = rng.standard_normal((SAMPLES, DIMENSIONS)) * deviations + offset
    # Mix the axes by a reflection, so that the covariance is dense.
    mirror = np.ones(DIMENSIONS) / np.sqrt(DIMENSIONS)
    features -= 2 * np.outer(features @ mirror, mirror)
    return features.mean(axis=0), np.cov(features, rowvar=False)


def through_sqrtm(a: Gaussian, b: Gaussian) -> float:
    """Return the distance by the formula as pytorch-fid, clean-fid and EDM compute it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = scipy.linalg.sqrtm(a[1] @ b[1])
    return float(np.sum((a[0] - b[0]) ** 2) + np.trace(a[1]) + np.trace(b[1]) - 2 * np.trace(root).real)


def ours(a: Gaussian, b: Gaussian) -> float:
    """Return the distance by `bench.metrics.frechet`."""
    return frechet_distance(*a, *b).value


def timed(compute: Callable[[Gaussian, Gaussian], float], a: Gaussian, b: Gaussian) -> tuple[float, float]:
    """Return the value and the seconds it took."""
    start = time.perf_counter()
    value = compute(a, b)
    return value, time.perf_counter() - start


def processor() -> str:
    """Return the name of the processor if the system reports it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    """Alternate the two, so that other load slows both, and compare their fastest rounds."""
    rng = np.random.default_rng(SEED)
    real, generated = fitted_gaussian(rng, 0.0, 1.0), fitted_gaussian(rng, 0.01, 1.05)
    seconds: dict[str, list[float]] = {"ours": [], "sqrtm": []}
    values: dict[str, float] = {}
    with threadpool_limits(THREADS):
        for _ in range(ROUNDS):
            for name, compute in (("ours", ours), ("sqrtm", through_sqrtm)):
                values[name], took = timed(compute, generated, real)
                seconds[name].append(took)

    fast, slow = (min(seconds[name]) for name in ("ours", "sqrtm"))
    print(f"machine     {processor()}, {THREADS} thread, numpy {np.__version__}, scipy {scipy.__version__}")
    print(f"features    {SAMPLES} x {DIMENSIONS}, float64, seed {SEED}; best of {ROUNDS} rounds")
    for name in ("ours", "sqrtm"):
        print(f"{name:<11} {values[name]:.12f}  in " + ", ".join(f"{s:.2f}" for s in seconds[name]) + " s")
    print(f"ratio       {slow / fast:.1f}x")
    print(f"difference  {abs(values['ours'] - values['sqrtm']) / values['sqrtm']:.1e} relative")


if __name__ == "__main__":
    main()
