"""A real BERT here and in PyTorch: time, memory, and how far the results are apart; one thread each, in processes of
their own, in turns.

python tests/benchmarks/pretrained_speed.py FOLDER [--rounds 5]
python tests/benchmarks/pretrained_speed.py --generate       how fast a GPT of GPT-2 small's size writes, here alone

needs `pip install torch transformers`. FOLDER holds a BERT as Hugging Face saves it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
SIZES = {"forward, 1 × 8 tokens": (1, 8), "forward, 20 × 27": (20, 27), "forward and backward, 20 × 27": (20, 27)}


def ours(folder: str) -> tuple[Callable[[np.ndarray], Any], Callable[[np.ndarray], Any]]:
    import minigrad as mg
    from minigrad import nn

    model = nn.BERT.from_pretrained(folder)

    def forward(ids: np.ndarray) -> Any:
        with mg.no_grad():
            return model(ids).data

    def backward(ids: np.ndarray) -> Any:
        for p in model.parameters():
            p.grad = None
        (model(ids) ** 2).sum().backward()
        return model.token_embedding.weight.grad[ids]

    return forward, backward


def theirs(folder: str) -> tuple[Callable[[np.ndarray], Any], Callable[[np.ndarray], Any]]:
    import torch
    import transformers

    torch.set_num_threads(1)
    model = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()

    def forward(ids: np.ndarray) -> Any:
        with torch.no_grad():
            return model(torch.tensor(ids)).last_hidden_state.numpy()

    def backward(ids: np.ndarray) -> Any:
        model.zero_grad()
        (model(torch.tensor(ids)).last_hidden_state ** 2).sum().backward()
        return model.embeddings.word_embeddings.weight.grad.numpy()[ids]

    return forward, backward


def measure(library: str, folder: str) -> dict[str, Any]:
    """Milliseconds (the best of several), a sample of the results, and the memory that it took, imports included."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    forward, backward = (ours if library == "minigrad" else theirs)(folder)
    found: dict[str, Any] = {}
    for name, shape in SIZES.items():
        ids = np.random.default_rng(0).integers(1000, 20_000, shape)
        f = backward if "backward" in name else forward
        result, times = f(ids), []
        for _ in range(15 if shape[0] == 1 else 4):
            start = time.perf_counter()
            f(ids)
            times.append(1000 * (time.perf_counter() - start))
        found[name] = {"ms": min(times), "result": np.asarray(result, np.float64)[0, :3, :20].tolist()}
    return found | {"MB": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}


def generate() -> None:
    """Ids a second of a random model of 124 million parameters that continues 100 ids, with a cache and without."""
    from minigrad import nn

    config = nn.GPTConfig(50257, 1024, n_layers=12, n_heads=12, d_model=768, tied_head=True)
    model = nn.GPT(config, np.random.default_rng(0))
    for cache, n in ((True, 40), (False, 4)):
        start = time.perf_counter()
        model.generate(np.arange(100), n, cache=cache)
        how = "with a cache" if cache else "without"
        print(f"{how:14} {n / (time.perf_counter() - start):6.1f} ids a second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--generate", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--library", choices=["minigrad", "PyTorch"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.generate:
        return generate()
    if args.folder is None:
        parser.error("which FOLDER?")
    if args.library:
        print(json.dumps(measure(args.library, args.folder)))
        return
    runs: dict[str, list[dict[str, Any]]] = {"minigrad": [], "PyTorch": []}
    for _ in range(args.rounds):
        for library in runs:
            command = [sys.executable, __file__, args.folder, "--library", library]
            done = subprocess.run(command, env=os.environ | THREAD, capture_output=True, text=True, check=True)
            runs[library].append(json.loads(done.stdout.splitlines()[-1]))
    for name in SIZES:
        a, b = ([run[name] for run in runs[library]] for library in runs)
        apart = np.abs(np.subtract(a[0]["result"], b[0]["result"])).max() / np.abs(b[0]["result"]).max()
        ratio = statistics.median(y["ms"] / x["ms"] for x, y in zip(a, b, strict=True))
        ms = [statistics.median(run["ms"] for run in one) for one in (a, b)]
        print(f"{name:32} {ms[0]:7.1f} ms, PyTorch {ms[1]:7.1f} ms: ratio {ratio:.2f}; apart by {apart:.1e}")
    memory = [statistics.median(run["MB"] for run in runs[library]) for library in runs]
    print(f"{'memory, imports included':32} {memory[0]:7.0f} MB, PyTorch {memory[1]:7.0f} MB")


if __name__ == "__main__":
    main()
