"""Long inputs: attention tile by tile, with memory that grows like the length; and what a sliding window forgets.

Softmax needs a whole row of scores, so it seems that all n × n of them must be in memory at once. They need not be:
minigrad/ops/tiled_attention.py tells why. You will see

  1  what it costs: time and peak memory, forward and backward, of attention, of tiled attention, and of tiled attention
     with a sliding window, in which each position sees only those less than 256 away. One head of 64 features, 128 to
     8,192 positions.
  2  what the window forgets. Each position has a key, a value, and a question: what is the value of this key, which
     stands here or earlier? Trained with tiled attention, causal, with windows and without:

         position   0   1   2   3   4
         key        c   a   f   d   k
         value      2   5   7   2   4
         question   c   c   a   d   f     at 3 the answer stands 0 positions back, at 4 it stands 2 back
         answer     2   2   5   2   7

Milakov & Gimelshein 2018 (online softmax), Dao et al. 2022 (FlashAttention), Beltagy et al. 2020 (sliding window).
Takes about 2 minutes; --quick less than 20 seconds.
"""

from __future__ import annotations

import story  # isort: skip (first: it hears Ctrl-C while the others load)

import statistics
import time
import tracemalloc
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn, optim

LENGTHS = [128, 256, 512, 1024, 2048, 4096, 8192]
WINDOW, D_HEAD, N_VALUES = 256, 64, 8
WAYS: dict[str, Any] = {
    "attention": mg.attention,
    "tiled": mg.tiled_attention,
    "window": lambda q, k, v: mg.tiled_attention(q, k, v, window=WINDOW),
}

# --- 1  what it costs ------------------------------------------------------------------------------------------------


def value_and_gradients(way: Any, qkv: list[mg.Tensor]) -> list[np.ndarray]:
    for t in qkv:
        t.grad = None
    y = way(*qkv)
    y.backward(np.ones(y.shape, np.float32))
    return [y.data, *(t.grad for t in qkv)]


def measure(n: int, seed: int) -> dict[str, dict[str, float]]:
    """Of each way the time, the peak of memory, and how far it is from attention, relative to the largest number."""
    found: dict[str, dict[str, float]] = {}
    rng = np.random.default_rng([seed, n])
    qkv = [mg.Tensor(rng.normal(size=(n, D_HEAD)).astype(np.float32), requires_grad=True) for _ in "qkv"]
    exact = value_and_gradients(mg.attention, qkv)
    for name, way in WAYS.items():
        numbers, times = value_and_gradients(way, qkv), []  # once before the clock starts
        while sum(times) < 0.1:
            started = time.perf_counter()
            value_and_gradients(way, qkv)
            times.append(time.perf_counter() - started)
        tracemalloc.start()  # NumPy reports every array made from now on
        value_and_gradients(way, qkv)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        off = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(numbers, exact, strict=True))
        found[name] = {"ms": 1000 * statistics.median(times), "mib": peak / 2**20, "off": off}
    return found


# --- 2  what a window forgets ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    window: int | None = None
    n: int = 256
    d: int = 32
    batch: int = 8
    steps: int = 600
    lr: float = 0.01


def questions(n: int, batch: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """The keys asked for, keys, values, answers, and how many positions back each answer stands; all (B, n)."""
    keys = rng.permuted(np.tile(np.arange(2 * n), (batch, 1)), axis=1)[:, :n]
    values = rng.integers(0, N_VALUES, (batch, n))
    back = rng.integers(0, np.arange(n) + 1, (batch, n))
    where = np.arange(n) - back
    return np.take_along_axis(keys, where, 1), keys, values, np.take_along_axis(values, where, 1), back


class Retrieval(nn.Module):
    """Query, key and value tables, one attention, an output layer."""

    def __init__(self, s: Settings, rng: np.random.Generator) -> None:
        self.window = s.window
        self.query, self.key = nn.Embedding(2 * s.n, s.d, rng=rng), nn.Embedding(2 * s.n, s.d, rng=rng)
        self.value, self.out = nn.Embedding(N_VALUES, s.d, rng=rng), nn.Linear(s.d, N_VALUES, rng=rng)

    def forward(self, asked: np.ndarray, keys: np.ndarray, values: np.ndarray) -> mg.Tensor:
        q, k, v = self.query(asked), self.key(keys), self.value(values)  #      (B, n, d)
        y = mg.tiled_attention(q, k, v, causal=True, window=self.window)
        return self.out(y)  #                                                   (B, n, N_VALUES)


def train(s: Settings, seed: int) -> dict[str, Any]:
    """Train; then the answers found, in percent: within the window, beyond it, and in 16 bins by how far back."""
    model, data = Retrieval(s, np.random.default_rng([seed, 0])), np.random.default_rng([seed, 1])
    optimizer = optim.Adam(model.parameters(), lr=s.lr)
    for _ in range(s.steps):
        *seen, answers, _ = questions(s.n, s.batch, data)
        loss = mg.cross_entropy(model(*seen), answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    *seen, answers, back = questions(s.n, 200, data)
    with mg.no_grad():
        right = model(*seen).numpy().argmax(-1) == answers
    inside = back < (s.window or s.n)
    return {
        "inside": 100 * float(right[inside].mean()),
        "beyond": 100 * float(right[~inside].mean()) if s.window else None,
        "curve": [100 * float(right[back // (s.n // 16) == i].mean()) for i in range(16)],
    }


# --- what was seen ---------------------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = story.parse(story.flags(__doc__, steps="training steps of 2"), argv)
    lengths, s = (LENGTHS[:5], Settings(n=128, steps=300)) if args.quick else (LENGTHS, Settings())
    s = replace(s, steps=args.steps or s.steps)
    jobs = [(n, seed) for n in lengths for seed in range(args.seeds)]
    found = iter(story.run(measure, jobs, processes=1, label="1  cost", to_time=True))
    rows = {"none": s, **{str(w): replace(s, window=w) for w in (s.n // 4, s.n // 16)}}
    results = {
        "settings": {"seeds": args.seeds, "n": s.n, "steps": s.steps},
        "cost": {str(n): [next(found) for _ in range(args.seeds)] for n in lengths},
        "retrieval": story.compare(train, rows, args, "2  retrieval"),
    }
    return story.finish("long_attention", args, results, in_words, report, draw)


def report(results: dict[str, Any]) -> None:
    s, seeds = results["settings"], f"median (range) of {results['settings']['seeds']} seeds"
    for key, title in (("ms", "milliseconds, forward and backward, one thread"), ("mib", "peak memory, MiB")):
        rows = [
            [f"{int(n):,}", *(story.spread_of([run[way] for run in runs], key) for way in WAYS)]
            for n, runs in results["cost"].items()
        ]
        story.table(f"1. {title}: {seeds}", ["positions", "attention", "tiled", f"window of {WINDOW}"], rows)
    rows = [
        [window, *("" if runs[0][key] is None else story.spread_of(runs, key) for key in ("inside", "beyond"))]
        for window, runs in results["retrieval"].items()
    ]
    rows.append([f"(computed) guessing one of {N_VALUES}", *[f"{100 / N_VALUES:.1f}"] * 2])
    title = f"2. Answers found in %, {s['n']} positions, {s['steps']} steps: {seeds}"
    story.table(title, ["window", "that stand within it", "beyond it"], rows)


def in_words(results: dict[str, Any]) -> list[str]:
    n = max(results["cost"], key=int)
    cost = {way: [run[way] for run in results["cost"][n]] for way in WAYS}
    mib, ms = ({way: story.median(cost[way], key) for way in WAYS} for key in ("mib", "ms"))
    return [
        f"At {int(n):,} positions attention takes {mib['attention']:.0f} MiB, tiled attention {mib['tiled']:.0f}.",
        f"Tiled attention takes {ms['tiled'] / ms['attention']:.2f} times as long as attention, with a window of "
        f"{WINDOW} {ms['window'] / ms['attention']:.2f} times as long.",
    ]


def draw(results: dict[str, Any], path: Path) -> None:
    plt = story.pyplot()
    figure, (times, memory, found) = plt.subplots(1, 3, figsize=(14, 4.2))
    lengths = [int(n) for n in results["cost"]]
    labels = {"attention": "attention", "tiled": "tiled attention", "window": f"tiled, a window of {WINDOW}"}
    for axis, key, title in ((times, "ms", "Time, ms"), (memory, "mib", "Peak memory, MiB")):
        for (way, label), color in zip(labels.items(), ("#c0392b", "#1f6fb4", "#2e9d8f"), strict=True):
            curves = [[run[way][key] for run in runs] for runs in results["cost"].values()]
            story.band(axis, lengths, np.transpose(curves), color, label)
        axis.set(title=title, xscale="log", yscale="log", xlabel="positions")
        axis.set_xticks(lengths[::2], [f"{n:,}" for n in lengths[::2]])
        axis.minorticks_off()
        axis.legend()
    back = (np.arange(16) + 0.5) * results["settings"]["n"] / 16
    for (window, runs), color in zip(results["retrieval"].items(), ("#1f6fb4", "#2e9d8f", "#c98a1b"), strict=True):
        story.band(found, back, [run["curve"] for run in runs], color, f"window: {window}")
    found.axhline(100 / N_VALUES, color="#3b4652", linestyle=":", linewidth=1, label="guessing")
    found.set(title="Answers found, %", xlabel="positions back to the answer", ylim=(0, 103))
    found.legend(loc="center right")
    story.save_picture(figure, path)
    plt.close(figure)


if __name__ == "__main__":
    story.tell(main)
