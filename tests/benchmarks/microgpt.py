"""How long does minigrad take for a GPT of microgpt's size? Prints one line.

    python tests/benchmarks/microgpt.py

The setting of Karpathy's microgpt, a GPT in 200 lines of scalar Python: 1 layer, 16 wide, 4 heads, 16 positions,
and 1,000 steps of one short document each, with Adam and a learning rate that falls to 0. Its documents are names; here
they are the lower-case words of Python's help texts. The model is nn.GPT, which has LayerNorm, biases and GELU where
microgpt has RMSNorm and ReLU: the same work, and a little more of it.

Both times are printed, by the clock and by the processor, since other programs slow the first.
"""

from __future__ import annotations

import re
import statistics
import time
from pydoc_data import topics

import numpy as np

import minigrad as mg
from minigrad import nn, optim

STEPS, RUNS = 1000, 5
END = 26  # begins and ends a document


def documents() -> list[np.ndarray]:
    words = sorted({w for text in topics.topics.values() for w in re.findall(r"\b[a-z]{2,15}\b", text)})
    return [np.array([END, *(ord(letter) - ord("a") for letter in word), END]) for word in words]


def run(texts: list[np.ndarray], seed: int) -> tuple[float, float, float]:
    """Seconds for 1,000 steps, by the clock and of the processor, and the mean loss of the last 100."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(texts))
    model = nn.GPT(nn.GPTConfig(vocab_size=27, block_size=16, n_layers=1, n_heads=4, d_model=16), rng=rng)
    optimizer = optim.Adam(model.parameters(), lr=0.01, betas=(0.85, 0.99))
    losses = []
    clock, processor = time.perf_counter(), time.process_time()
    for step in range(STEPS):
        text = texts[order[step % len(order)]]
        loss = mg.cross_entropy(model(text[None, :-1]), text[None, 1:])
        optimizer.lr = 0.01 * (1 - step / STEPS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return time.perf_counter() - clock, time.process_time() - processor, statistics.mean(losses[-100:])


def main() -> None:
    texts = documents()
    clock, processor, losses = zip(*(run(texts, seed) for seed in range(RUNS)), strict=True)
    print(
        f"{STEPS:,} steps of a GPT of microgpt's size (1 layer, 16 wide, 4 heads, 16 positions): "
        f"{median_and_range(clock)}, of which computing {median_and_range(processor)}; {RUNS} runs. "
        f"Loss at the end {statistics.median(losses):.2f}, for a uniform guess {np.log(27):.2f}"
    )


def median_and_range(seconds: tuple[float, ...]) -> str:
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} – {max(seconds):.2f})"


if __name__ == "__main__":
    main()
