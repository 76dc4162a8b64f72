"""Computation graphs as pictures: a neuron, attention, a transformer block, a GPT; and a page to walk through.

You will see values flow down and gradients flow back, modules folded and unfolded, and hard attention, behind which no
gradient arrives. The files open in any browser. Takes about 2 seconds. The layout needs the `viz` extra or Graphviz's
`dot`. The pictures in examples/gallery were made with --out examples/gallery, walk.png by screenshots.py.
"""

from __future__ import annotations

import story  # isort: skip (first: it hears Ctrl-C while the others load)

import math
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn, viz
from minigrad.tensors.modes import in_scope
from minigrad.viz import layout

WORDS = ["my", "grandmother", "bakes", "incredible", "cookies"]


def neuron() -> viz.layout.Picture:
    """One neuron, from two numbers to a loss, with every value and every gradient."""
    x1, x2 = mg.Tensor(2.0, name="x1"), mg.Tensor(0.5, name="x2")
    w1, w2, b = (mg.Tensor(v, requires_grad=True, name=n) for n, v in (("w1", -0.75), ("w2", 1.0), ("b", 1.5)))
    with viz.record() as tape:
        y = mg.tanh(w1 * x1 + w2 * x2 + b)
        loss = (y - 1.0) ** 2
        loss.backward()
    return viz.graph(loss, tape=tape, direction="LR")


def head(x: mg.Tensor, weights: list[mg.Tensor], normalize: Any) -> mg.Tensor:
    """One attention head, written in plain ops."""
    q, k, v = (x @ w for w in weights)
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return normalize(scores) @ v


def projections(rng: np.random.Generator, d: int) -> list[mg.Tensor]:
    return [mg.Tensor(rng.normal(0, 0.5, (d, d)), requires_grad=True, name=f"W_{name}") for name in "qkv"]


def attention_head() -> viz.layout.Picture:
    rng = np.random.default_rng(0)
    x = mg.Tensor(rng.normal(size=(5, 8)), name="x")
    with viz.record() as tape:
        loss = (head(x, projections(rng, 8), mg.softmax) ** 2).mean()
        loss.backward()
    return viz.graph(loss, tape=tape)


def soft_and_hard() -> viz.layout.Picture:
    """The same head twice, with the same tokens and weights; only the normalizer differs.

    Behind hardmax every gradient is exactly 0, so queries and keys never learn.
    """
    rng = np.random.default_rng(0)
    tokens, weights = rng.normal(size=(5, 8)), projections(rng, 8)
    same = [mg.Tensor(w.data, requires_grad=True, name=w.name) for w in weights]
    with viz.record() as tape:
        soft = in_scope("softmax", head, mg.Tensor(tokens, name="x"), weights, mg.softmax)
        hard = in_scope("hardmax", head, mg.Tensor(tokens, name="x"), same, mg.hardmax)
        loss = ((soft + hard) ** 2).mean()
        loss.backward()
    return viz.graph(loss, depth=2, tape=tape)


def block() -> tuple[viz.Tape, mg.Tensor]:
    """A transformer block, forward and backward, on a sentence of five words."""
    rng = np.random.default_rng(0)
    model = nn.Block(16, 2, causal=True, rng=rng).astype(np.float64)
    x = mg.Tensor(rng.normal(size=(1, len(WORDS), 16)), name="x")
    with viz.record() as tape:
        loss = (model(x) ** 2).mean()
        loss.backward()
    return tape, loss


def gpt() -> viz.layout.Picture:
    """A GPT of 6 layers, folded until it fits on a page."""
    rng = np.random.default_rng(0)
    config = nn.GPTConfig(vocab_size=65, block_size=32, n_layers=6, n_heads=4, d_model=64)
    model = nn.GPT(config, rng).astype(np.float64)
    text = rng.integers(0, 65, (4, 33))
    ids, targets = mg.Tensor(text[:, :-1], name="ids"), mg.Tensor(text[:, 1:], name="targets")
    with viz.record() as tape:
        loss = mg.cross_entropy(model(ids), targets)
        loss.backward()
    return viz.graph(loss, tape=tape)


def pictures() -> dict[str, viz.layout.Picture]:
    tape, loss = block()
    return {
        "neuron": neuron(),
        "attention_head": attention_head(),
        "soft_and_hard": soft_and_hard(),
        "block": viz.graph(loss, depth=1, tape=tape, direction="LR"),
        "block_opened": viz.graph(loss, depth=2, tape=tape),
        "gpt": gpt(),
    }


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = story.parse(story.flags(__doc__, seeds=0), argv)
    written: list[Path] = []
    tape, loss = block()
    with layout.reproducible():
        for name, picture in pictures().items():
            picture.save(story.place(args, f"{name}.dot"))
            written.append(picture.save(story.place(args, f"{name}.svg")))
        page = story.place(args, "walk.html")
        written.append(viz.page(tape, page, tokens=WORDS, title="A transformer block, step by step"))

    def report(results: dict[str, Any]) -> None:
        story.say(f"\n{viz.tree(loss, depth=1, tape=tape)}\n")
        for path in written:
            print(f"{path.stat().st_size / 1000:6.1f} kB  {path}")

    results = {"files": {path.name.replace("_quick", ""): path.stat().st_size for path in written}}
    return story.finish("draw_graph", args, results, in_words, report)


def in_words(results: dict[str, Any]) -> list[str]:
    files = results["files"]
    if "walk.html" not in files:
        return [f"{len(files)} graphs as .dot files.", "Nothing is installed that can lay them out."]
    page = files["walk.html"] / 1000
    return [
        f"{len(files) - 1} graphs, from one neuron to a GPT of 6 layers; and the step page.",
        f"The step page is one file of {page:.0f} kB.",
    ]


if __name__ == "__main__":
    story.tell(main)
