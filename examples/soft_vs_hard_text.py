"""Experiment B of soft_vs_hard.py, which runs it: a one-block GPT predicts the next character of real text.

Its residual path and its MLP learn without attention, too, so the question is how far each normalizer gets:

    the text so far  "gradien"      the next character  "t"
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

TEXT_MAPS = ["softmax", "entmax15", "sparsemax", "uniform", "hardmax"]
COLORS = dict(zip(TEXT_MAPS, ["#1f6fb4", "#2e9d8f", "#c98a1b", "#6b7683", "#c0392b"], strict=True))


@dataclass(frozen=True)
class Text:
    path: str | None = None  # None is the help that comes with Python
    block_size: int = 32
    d_model: int = 64
    n_heads: int = 4
    batch: int = 32
    steps: int = 800
    lr: float = 3e-3
    evaluate_every: int = 100
    evaluate_batches: int = 60


def text_settings(args: Any) -> Text:
    """The settings that the flags ask for."""
    if args.steps:
        return Text(args.text, steps=args.steps, evaluate_every=max(1, args.steps // 4))
    return Text(args.text, steps=120, evaluate_every=40) if args.quick else Text(args.text)


def train_text(setting: tuple[str, Text], seed: int) -> dict[str, Any]:
    """Train a GPT with one normalizer; note its validation loss in bits per character."""
    normalize, settings = setting
    source = text.load(settings.path)
    vocabulary = text.Vocabulary.from_text(source)
    train, validation = text.split(vocabulary.encode(source), 0.9)
    config = nn.GPTConfig(
        vocab_size=len(vocabulary), block_size=settings.block_size, n_layers=1, n_heads=settings.n_heads,
        d_model=settings.d_model, normalize=normalize,
    )  # fmt: skip
    model = nn.GPT(config, rng=np.random.default_rng([seed, 0]))
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
    return {"bits": curve[-1][1], "curve": curve, "drift": moved}


@mg.no_grad()
def bits_per_character(model: nn.GPT, ids: np.ndarray, settings: Text) -> float:
    same_for_all = np.random.default_rng(0)
    batches = text.batches(ids, settings.block_size, settings.batch, same_for_all)
    losses = [mg.cross_entropy(model(x), y).item() for x, y in itertools.islice(batches, settings.evaluate_batches)]
    return statistics.mean(losses) / math.log(2)


def describe(settings: Text) -> dict[str, Any]:
    """The text's name, length, hash and entropies. Raises OSError or ValueError for a text that cannot be used."""
    source = text.load(settings.path)
    if len(source) < 20 * settings.block_size:
        raise ValueError(f"{settings.path} has {len(source)} characters, too short for blocks of {settings.block_size}")
    return {
        "name": settings.path or f"pydoc_data.topics of Python {platform.python_version()}",
        "characters": len(source), "sha256": hashlib.sha256(source.encode()).hexdigest(),
        "unigram": text.unigram_entropy(source), "bigram": text.bigram_entropy(source),
    }  # fmt: skip


def report_text(results: dict[str, Any]) -> None:
    source, settings = results["source"], results["settings"]
    lines = []
    for name, runs in results["text"].items():
        lines.append([name, story.spread_of(runs, "bits", "{:.2f}"), story.spread_of(runs, "drift", "{:.3g}")])
    for name in ("bigram", "unigram"):
        lines.append([f"(the text's own) {name} entropy", f"{source[name]:.2f}", ""])
    story.table(
        f"B. {source['name']} ({source['characters']:,} characters, sha256 {source['sha256'][:12]}): "
        f"median (range) of {settings['seeds']} seeds, {settings['text']['steps']} steps",
        ["weights", "validation, bits per character", "drift of query and key weights"], lines,
    )  # fmt: skip


def draw_text(results: dict[str, Any], axis: Any) -> None:
    for name, runs in results["text"].items():
        steps = [step for step, _ in runs[0]["curve"]]
        pictures.band(axis, steps, [[bits for _, bits in run["curve"]] for run in runs], COLORS[name], name)
    for name, dashes in (("unigram", ":"), ("bigram", "--")):
        pictures.level(axis, results["source"][name], dashes, f"{name} entropy")
    axis.set(title="Real text", xlabel="training step", ylabel="validation, bits per character")
    pictures.legend_below(axis)
