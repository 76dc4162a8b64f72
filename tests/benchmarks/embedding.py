"""`python tests/benchmarks/embedding.py`: four ways to add up the gradient of an embedding's table, by size.

For each, the median of the calls that fit in half a second, in ms, the ways taking turns. Gradients are float32.
"""

import statistics
import time

import numpy as np

SIZES = [(65, 64, 32), (65, 768, 128), (256, 4096, 128), (1000, 768, 128), (1024, 32768, 128), (30000, 768, 128)]
SECONDS = 0.5


def add_rows(n, ids, rows):
    """As on the page."""
    grad = np.zeros((n, rows.shape[1]), rows.dtype)
    np.add.at(grad, ids, rows)
    return grad


def add_numbers(n, ids, rows):
    d = rows.shape[1]
    grad = np.zeros(n * d, rows.dtype)
    np.add.at(grad, (ids[:, None] * d + np.arange(d)).reshape(-1), rows.reshape(-1))
    return grad.reshape(n, d)


def one_hot_product(n, ids, rows):
    return (np.arange(n)[:, None] == ids).astype(rows.dtype) @ rows


def sorted_runs(n, ids, rows):
    grad = np.zeros((n, rows.shape[1]), rows.dtype)
    order = np.argsort(ids, kind="stable")
    used, starts = np.unique(ids[order], return_index=True)
    grad[used] = np.add.reduceat(rows[order], starts)
    return grad


def count_numbers(n, ids, rows):
    """np.bincount adds weights, in float64."""
    d = rows.shape[1]
    places = (ids[:, None] * d + np.arange(d)).reshape(-1)
    return np.bincount(places, rows.reshape(-1), n * d).astype(rows.dtype).reshape(n, d)


WAYS = (add_numbers, add_rows, one_hot_product, sorted_runs, count_numbers)


def main() -> None:
    print(f"{'rows':>6} {'ids':>6} {'width':>6}", *(f"{way.__name__:>16}" for way in WAYS))
    rng = np.random.default_rng(0)
    for n, n_ids, d in SIZES:
        ids, rows = rng.integers(0, n, n_ids), rng.normal(size=(n_ids, d)).astype(np.float32)
        times: dict[str, list[float]] = {way.__name__: [] for way in WAYS}
        end = time.perf_counter() + SECONDS * len(WAYS)
        while time.perf_counter() < end or len(times["add_rows"]) < 3:
            for way in WAYS:
                start = time.perf_counter()
                way(n, ids, rows)
                times[way.__name__].append(time.perf_counter() - start)
        print(f"{n:6} {n_ids:6} {d:6}", *(f"{1e3 * statistics.median(t):16.3f}" for t in times.values()), flush=True)


if __name__ == "__main__":
    main()
