"""Experiment B of soft_vs_hard.py, which runs it: a one-block GPT predicts the next character of real text.

Its residual path and its MLP learn without attention, too, so the question is how far each row gets:

    the text so far  "gradien"      the next character  "t"

Two controls: the same weight for all, and softmax over queries and keys that stay as they were drawn. For comparison, a
table that counts in the training part which character follows which, and guesses from the last character alone.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import platform
import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg
import pictures
import story
from minigrad import nn, optim, text

RATES = [0.001, 0.002, 0.003, 0.006, 0.012]


@dataclass(frozen=True)
class Text:
    normalize: Any = "softmax"  # from scores to weights
    frozen: bool = False  # query and key weights are not trained
    path: str | None = None  # None is the help that comes with Python
    block_size: int = 32
    d_model: int = 64
    n_heads: int = 4
    batch: int = 32
    steps: int = 800
    lr: float = 3e-3
    evaluate_every: int = 200
    evaluate_batches: int = 60


TEXT = {
    "softmax": Text(),
    "1.5-entmax": Text("entmax15"),
    "sparsemax": Text("sparsemax"),
    "straight-through": Text(mg.straight_through),
    "control: softmax, frozen queries and keys": Text(frozen=True),
    "control: uniform": Text("uniform"),
    "hardmax (argmax)": Text("hardmax"),
}
QUICK = ["softmax", "control: uniform", "hardmax (argmax)"]
ONLY_FULL = {"1.5-entmax", "sparsemax"}  # rows for the full run
COLORS = {"softmax": "C0", "straight-through": "C3", "control: uniform": "C6", "hardmax (argmax)": "C1"}


def read(settings: Text) -> tuple[text.Vocabulary, np.ndarray, np.ndarray]:
    """The vocabulary, and the ids of the training part (nine tenths) and of the validation part."""
    source = text.load(settings.path)
    vocabulary = text.Vocabulary.from_text(source)
    return vocabulary, *text.split(vocabulary.encode(source), 0.9)


def train_text(settings: Text, seed: int) -> dict[str, Any]:
    """Train a GPT; note its validation loss in bits per character, and that of reading it with argmax afterwards."""
    vocabulary, train, validation = read(settings)
    config = nn.GPTConfig(
        vocab_size=len(vocabulary), block_size=settings.block_size, n_layers=1, n_heads=settings.n_heads,
        d_model=settings.d_model, normalize=settings.normalize,
    )  # fmt: skip
    model = nn.GPT(config, rng=np.random.default_rng([seed, 0]))
    attn = model.blocks[0].attn
    if settings.frozen:
        for parameter in (*attn.query.parameters(), *attn.key.parameters()):
            parameter.requires_grad = False
    before = model.state_dict()
    optimizer = optim.Adam(model.parameters(), lr=settings.lr)  # weight decay would move queries and keys, too
    batches = text.batches(train, settings.block_size, settings.batch, np.random.default_rng([seed, 1]))
    curve = []
    for step in range(1, settings.steps + 1):
        ids, targets = next(batches)
        loss = mg.cross_entropy(model(ids), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % settings.evaluate_every == 0 or step == settings.steps:
            curve.append((step, bits_per_character(model, validation, settings)))
    moved = story.drift(before, model.state_dict(), ("query", "key"))
    attn.normalize = "hardmax"
    read_hard = bits_per_character(model, validation, settings)
    return {"bits": curve[-1][1], "read_hard": read_hard, "curve": curve, "drift": moved}


@mg.no_grad()
def bits_per_character(model: nn.GPT, ids: np.ndarray, settings: Text) -> float:
    same_for_all = np.random.default_rng(0)
    batches = text.batches(ids, settings.block_size, settings.batch, same_for_all)
    losses = [mg.cross_entropy(model(x), y).item() for x, y in itertools.islice(batches, settings.evaluate_batches)]
    return statistics.mean(losses) / math.log(2)


def count_table(settings: Text) -> float:
    """Validation bits per character of guessing b after a with probability (n_ab + 0.1) / Σ_b (n_ab + 0.1).

    n_ab is how often b follows a in the training part; 0.1 is for pairs that never came there and may yet come.
    """
    vocabulary, train, validation = read(settings)
    pairs = np.full((len(vocabulary), len(vocabulary)), 0.1)
    np.add.at(pairs, (train[:-1], train[1:]), 1)
    p = pairs / pairs.sum(axis=1, keepdims=True)
    return float(-np.log2(p[validation[:-1], validation[1:]]).mean())


def describe(settings: Text) -> dict[str, Any]:
    """The text's name, length and hash, and what guesses cost. Raises OSError or ValueError for one unfit for use."""
    source = text.load(settings.path)
    if len(source) < 20 * settings.block_size:
        raise ValueError(f"{settings.path} has {len(source)} characters, too short for blocks of {settings.block_size}")
    return {
        "name": settings.path or f"pydoc_data.topics of Python {platform.python_version()}",
        "characters": len(source), "sha256": hashlib.sha256(source.encode()).hexdigest(),
        "unigram": text.unigram_entropy(source), "bigram": text.bigram_entropy(source),
        "count table": count_table(settings),
    }  # fmt: skip


def report_text(results: dict[str, Any]) -> None:
    source, settings = results["source"], results["settings"]
    lines = []
    for name, runs in results["text"].items():
        cells = (
            story.spread_of(runs, *how) for how in (("bits", "{:.2f}"), ("read_hard", "{:.2f}"), ("drift", "{:.3g}"))
        )
        lines.append([name, f"{settings['text rates'][name]:g}", *cells])
    lines.append(["(counted) table of pairs, from the training part", "", f"{source['count table']:.2f}", "", ""])
    story.table(
        f"B. {source['name']} ({source['characters']:,} characters, sha256 {source['sha256'][:12]}): "
        f"median (range) of {settings['seeds']} seeds, {settings['text_steps']} steps",
        ["weights", "learning rate", "bits per character", "read with argmax", "drift of query and key weights"], lines,
    )  # fmt: skip


def draw_text(results: dict[str, Any], axis: Any) -> None:
    ends = {}
    for name, color in COLORS.items():
        if name not in results["text"]:
            continue
        runs = results["text"][name]
        steps, curves = [step for step, _ in runs[0]["curve"]], [[bits for _, bits in run["curve"]] for run in runs]
        color = pictures.band(axis, steps, curves, color, marker="o", markersize=3)
        ends[name.removeprefix("control: ")] = (float(np.median(curves, 0)[-1]), color)
    ends["table of pairs"] = pictures.level(axis, results["source"]["count table"], "--")
    axis.set(title="Real text: argmax learns around its attention", xlabel="training step")
    axis.set(ylabel="validation, bits per character", xlim=(0, steps[-1]))
    pictures.labels(axis, ends)
