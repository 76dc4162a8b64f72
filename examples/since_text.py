"""The text half of since.py, which runs it: a GPT of two blocks on Python's own help, with other attention in it.

Softmax must put its weight somewhere, even where nothing fits; trained models then put it on the first position, the
attention sink (Xiao et al. 2024). You will see how much weight late positions give to position 0, and the loss, with

    softmax1   a one in the denominator, which can take that weight (Miller 2023)
    gated      each head's output times a sigmoid of what was asked from, which can refuse it (Qiu et al. 2025)
    QK-norm    layer norm on queries and keys of each head (Dehghani et al. 2023)
    rotary     in place of learned positions, queries and keys are turned by an angle that grows with the position, so
               that q·k depends on how far apart they are (Su et al. 2021)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import minigrad as mg
import soft_vs_hard_text as on_text
import story
from minigrad import nn, optim, text


@dataclass(frozen=True)
class Since:
    normalize: Any = mg.softmax
    gate: bool = False
    norm: bool = False
    rotary: bool = False
    steps: int = 500
    test_batches: int = 40
    lr: float = 3e-3


ROWS = {
    "softmax": Since(),
    "softmax1": Since(mg.softmax1),
    "gated": Since(gate=True),
    "QK-norm": Since(norm=True),
    "rotary": Since(rotary=True),
    "control: no positions": Since(),  # see `train`
}
BLOCK, WIDTH, HEADS, LATE = 64, 64, 4, 32  # positions from LATE on are asked where they look


def turn(x: mg.Tensor) -> mg.Tensor:
    """Turn each pair of features (i, i + half) of position t by the angle t · 100^(−i/half)."""
    half = x.shape[-1] // 2
    angles = np.arange(x.shape[-2])[:, None] * 100.0 ** (-np.arange(half) / half)  # (T, half)
    cos, sin = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return mg.concat([a * cos - b * sin, a * sin + b * cos], axis=-1)


class Attention(nn.Module):
    """Causal attention with several heads, and what a row adds; it keeps the weights it gave. No other mask comes."""

    def __init__(self, s: Since, rng: np.random.Generator) -> None:
        self.s, self.given = s, np.empty(0)
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH, rng=rng) for _ in range(4))
        if s.gate:
            self.gate = nn.Linear(WIDTH, WIDTH, rng=rng)
        if s.norm:
            self.norm_q, self.norm_k = nn.LayerNorm(WIDTH // HEADS), nn.LayerNorm(WIDTH // HEADS)

    def forward(self, x: mg.Tensor, **masks: Any) -> mg.Tensor:
        shape = (*x.shape[:-1], HEADS, WIDTH // HEADS)
        q, k, v = (f(x).reshape(shape).swapaxes(-2, -3) for f in (self.query, self.key, self.value))  # (B, heads, T, d)
        if self.s.norm:
            q, k = self.norm_q(q), self.norm_k(k)
        if self.s.rotary:
            q, k = turn(q), turn(k)
        weights = self.s.normalize(q @ k.mT / math.sqrt(shape[-1]), mask=mg.causal_mask(x.shape[-2]))
        self.given = weights.detach().numpy()
        y = (weights @ v).swapaxes(-2, -3).reshape(x.shape)
        if self.s.gate:
            y = y * mg.sigmoid(self.gate(x))
        out: mg.Tensor = self.out(y)
        return out


def train(setting: tuple[str, Since], seed: int) -> dict[str, float]:
    name, s = setting
    vocabulary, ids, validation = on_text.read(on_text.Text())
    rng = np.random.default_rng([seed, 0])
    model = nn.GPT(nn.GPTConfig(len(vocabulary), BLOCK, n_layers=2, n_heads=HEADS, d_model=WIDTH), rng=rng)
    for block in model.blocks:
        block.attn = Attention(s, rng)
    if s.rotary or name == "control: no positions":
        model.position_embedding.weight.data = 0 * model.position_embedding.weight.data
        model.position_embedding.weight.requires_grad = False
    optimizer = optim.Adam(model.parameters(), lr=s.lr)
    batches = text.batches(ids, BLOCK, 16, np.random.default_rng([seed, 1]))
    for step in range(s.steps):
        x, y = next(batches)
        loss = mg.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.lr = optim.cosine_schedule(step, lr=s.lr, warmup=min(20, s.steps // 4), steps=s.steps)
        optimizer.step()
    return judge(model, validation, s.test_batches)


@mg.no_grad()
def judge(model: nn.GPT, validation: np.ndarray, test_batches: int) -> dict[str, float]:
    """Bits per character, and the share of the weights of late positions that position 0 gets: all heads, and most."""
    losses, shares = [], []
    batches = text.batches(validation, BLOCK, 16, np.random.default_rng(0))
    for _ in range(test_batches):
        x, y = next(batches)
        losses.append(mg.cross_entropy(model(x), y).item())
        given = np.stack([block.attn.given for block in model.blocks])  # (blocks, B, heads, T, T)
        late = given[:, :, :, LATE:]
        shares.append((late[..., 0] / np.maximum(late.sum(-1), 1e-9)).mean((1, 3)))  # (blocks, heads)
    mean = np.mean(shares, 0)
    total = float(late.sum(-1).mean())
    return {
        "bits": float(np.mean(losses)) / math.log(2), "on first": 100 * float(mean.mean()),
        "most of a head": 100 * float(mean.max()), "sum": total,
    }  # fmt: skip


def run(args: Any) -> dict[str, Any]:
    """Train every row on a few seeds: {"rows": {name: runs}, "equal share": of position 0, in percent}."""
    steps = args.steps or (40 if args.quick else Since.steps)
    names = ["softmax", "softmax1", "gated"] if args.quick else list(ROWS)
    batches = 6 if args.quick else Since.test_batches
    rows = {name: (name, replace(ROWS[name], steps=steps, test_batches=batches)) for name in names}
    runs = story.compare(train, rows, args, "since, on text")
    return {"rows": runs, "equal share": 100 * float(np.mean(1 / np.arange(LATE + 1, BLOCK + 1)))}


def report(found: dict[str, Any]) -> None:
    seeds = len(found["rows"]["softmax"])
    forms = {"bits": "{:.2f}", "on first": "{:.1f}", "most of a head": "{:.0f}", "sum": "{:.2f}"}
    lines = [
        [name, *(story.spread_of(runs, key, form) for key, form in forms.items())]
        for name, runs in found["rows"].items()
    ]
    lines.append(["(computed) equal shares", "", f"{found['equal share']:.1f}", "", ""])
    heads = ["bits per character", "weight on position 0, %", "the same, in the head with most", "sum of weights"]
    story.table(f"Text, two blocks: median (range) of {seeds} seeds", ["", *heads], lines)


def draw(found: dict[str, Any], axis: Any) -> None:
    names = list(found["rows"])
    for at, name in enumerate(names):
        figures = [run["most of a head"] for run in found["rows"][name]]
        axis.bar(at, np.median(figures), 0.6, color="C0", alpha=0.8)
        axis.plot([at] * len(figures), figures, "o", color="C1", markersize=4)
    axis.axhline(found["equal share"], color="C6", linestyle="--")
    axis.annotate("equal shares", (len(names) - 0.5, found["equal share"]), xytext=(0, 4), textcoords="offset points",
                  ha="right", fontsize=9)  # fmt: skip
    axis.set_xticks(range(len(names)), [name.removeprefix("control: ").replace(" ", "\n") for name in names])
    axis.set(ylabel="weight on position 0, %,\nin the head that gives it most")
    axis.grid(axis="x", visible=False)
    sink = np.median([run["most of a head"] for run in found["rows"]["softmax"]]) > 2 * found["equal share"]
    axis.set_title("Position 0 is an attention sink" if sink else "A GPT this small has no attention sink")
