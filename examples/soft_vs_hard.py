"""Why attention is soft: the same models with softmax, with argmax, and with everything in between.

You will see two experiments. What changes from row to row is the normalizer, which turns scores into weights, or how a
hard choice is trained; in some rows also how large the query and key tables are at the start.

  A  Retrieval. N (key, value) pairs and a query key; the answer is the value stored under that key:

         keys   c  a  f  d        query  f        answer  7
         values 2  5  7  2

     Keys are drawn without repetition from 2N, values from 8, fresh for every batch. To solve it, the query and key
     tables must come to agree. There is no residual path, no weight decay and no layer norm: each would blur whether
     the tables moved.

  B  Real text. A one-block GPT predicts the next character: see soft_vs_hard_text.py.

Takes about 5 minutes on two cores; --quick less than 20 seconds.
"""

from __future__ import annotations

import story  # isort: skip (first: it hears Ctrl-C while the others load)

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

import minigrad as mg
import pictures
from minigrad import nn, optim
from soft_vs_hard_text import TEXT_MAPS, describe, draw_text, report_text, text_settings, train_text

N_VALUES = 8


@dataclass(frozen=True)
class Retrieve:
    """One row of experiment A."""

    weights: str = "softmax"  # a normalizer's name, or how a hard choice is trained: see Retrieval.forward
    scale: float = 1.0  # standard deviation of the tables at the start
    frozen: bool = False  # query and key tables are not trained
    steps: int = 1500
    batch: int = 64
    d: int = 16
    lr: float = 0.02


RETRIEVAL = {
    "softmax": Retrieve(),
    "exact sum over choices": Retrieve("exact"),
    "straight-through": Retrieve("straight_through"),
    "Gumbel straight-through": Retrieve("gumbel"),
    "REINFORCE, moving baseline": Retrieve("reinforce"),
    "REINFORCE, no baseline": Retrieve("reinforce without baseline"),
    "entmax-1.5": Retrieve("entmax15"),
    "sparsemax": Retrieve("sparsemax"),
    "sparsemax, tables at scale 0.3": Retrieve("sparsemax", scale=0.3),
    "top-4": Retrieve("top_k_softmax"),
    "top-4, tables at scale 0.3": Retrieve("top_k_softmax", scale=0.3),
    "softmax, tables at scale 3": Retrieve(scale=3.0),
    "simple normalization": Retrieve("sum_normalize"),
    "sigmoid, normalized": Retrieve("sigmoid_normalize"),
    "hardmax (argmax)": Retrieve("hardmax"),
    "control: hardmax, frozen tables": Retrieve("hardmax", frozen=True),
    "control: softmax, frozen tables": Retrieve(frozen=True),
    "control: uniform": Retrieve("uniform"),
}


class Retrieval(nn.Module):
    """query, key and value tables; scores = q·k/√d; weights from the scores; an output layer."""

    def __init__(self, n: int, row: Retrieve, rng: np.random.Generator) -> None:
        self.row, self.rng = row, rng
        self.query, self.key = nn.Embedding(2 * n, row.d, rng=rng), nn.Embedding(2 * n, row.d, rng=rng)
        self.value = nn.Embedding(N_VALUES, row.d, rng=rng)
        for table in (self.query, self.key, self.value):
            table.weight.data = row.scale * table.weight.data
        self.out = nn.Linear(row.d, N_VALUES, rng=rng)
        self.baseline = 0.0
        if row.frozen:
            self.query.weight.requires_grad = self.key.weight.requires_grad = False

    def forward(self, query: Any, keys: Any, values: Any, answer: Any) -> tuple[mg.Tensor, np.ndarray]:
        """The loss and, for each question of the batch, whether the answer was right."""
        q = self.query(query)[:, :, None]  # (B, d, 1)
        k, v = self.key(keys), self.value(values)  # (B, N, d)
        scores = (k @ q)[:, :, 0] / math.sqrt(self.row.d)  # (B, N)
        how = self.row.weights
        if how == "exact":
            return self.try_every_choice(scores, v, answer)
        if how.startswith("reinforce"):
            return self.draw_one_choice(scores, v, answer)
        weights = mg.gumbel_softmax(scores, rng=self.rng) if how == "gumbel" else getattr(mg, how)(scores)
        logits = self.out((weights[:, None, :] @ v)[:, 0])  # (B, N_VALUES)
        return mg.cross_entropy(logits, answer), logits.numpy().argmax(-1) == answer

    def try_every_choice(self, scores: mg.Tensor, v: mg.Tensor, answer: Any) -> tuple[mg.Tensor, np.ndarray]:
        """Each choice's loss, weighted by its probability: nothing is drawn, and the output layer works N times."""
        weights, logits = mg.softmax(scores), self.out(v)  # (B, N), (B, N, N_VALUES)
        losses = mg.cross_entropy(logits, np.repeat(answer[:, None], v.shape[1], 1), reduction="none")
        mixture = (weights[:, :, None] * mg.softmax(logits)).sum(axis=1)
        return (weights * losses).sum(axis=-1).mean(), mixture.numpy().argmax(-1) == answer

    def draw_one_choice(self, scores: mg.Tensor, v: mg.Tensor, answer: Any) -> tuple[mg.Tensor, np.ndarray]:
        """REINFORCE: draw one choice, reward it by minus its loss."""
        log_p = mg.log_softmax(scores)
        choice = (log_p.numpy() + self.rng.gumbel(size=scores.shape)).argmax(-1)  # Gumbel-max: a draw from p
        rows = np.arange(len(choice))
        logits = self.out(v[rows, choice])
        losses = mg.cross_entropy(logits, answer, reduction="none")
        reward = -losses.detach().numpy()
        loss = losses.mean() + mg.reinforce(log_p[rows, choice], reward, self.baseline)
        if self.row.weights == "reinforce":
            self.baseline = 0.9 * self.baseline + 0.1 * float(reward.mean())
        return loss, logits.numpy().argmax(-1) == answer


def questions(n: int, batch: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    keys = rng.permuted(np.tile(np.arange(2 * n), (batch, 1)), axis=1)[:, :n]
    values = rng.integers(0, N_VALUES, (batch, n))
    rows, where = np.arange(batch), rng.integers(0, n, batch)
    return keys[rows, where], keys, values, values[rows, where]


def train_retrieval(setting: tuple[Retrieve, int], seed: int) -> dict[str, Any]:
    """Train one row of A, among n. Every batch is new, so accuracy in training is accuracy on unseen questions."""
    row, n = setting
    model = Retrieval(n, row, np.random.default_rng([seed, 0]))
    data = np.random.default_rng([seed, 1])
    before = model.state_dict()
    optimizer = optim.Adam(model.parameters(), lr=row.lr)
    right = np.empty(row.steps)
    for step in range(row.steps):
        loss, correct = model(*questions(n, row.batch, data))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right[step] = correct.mean()
    window = min(50, row.steps)
    trailing = np.convolve(right, np.full(window, 1 / window), mode="valid")
    passed = np.flatnonzero(trailing >= 0.9)
    return {
        "accuracy": 100 * float(right[-min(200, row.steps) :].mean()),
        "step_90": int(passed[0]) + window if len(passed) else None,
        "drift": story.drift(before, model.state_dict(), ("query", "key")),
        "curve": [round(100 * float(a), 2) for a in trailing[::10]],
    }


def random_route(n: int) -> float:
    """Expected accuracy, in percent, of reading one pair at random: right by luck where it holds the same value."""
    return 100 * (1 / n + (1 - 1 / n) / N_VALUES)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = story.flags(__doc__, steps="training steps of both experiments")
    parser.add_argument("--text", metavar="FILE", help="train B on this text (default: Python's own help texts)")
    args = story.parse(parser, argv)
    steps, settings = args.steps or Retrieve.steps, text_settings(args)
    sizes, names, maps = [8, 32], list(RETRIEVAL), TEXT_MAPS
    if args.quick:
        steps, sizes, maps = args.steps or 300, [8], ["softmax", "uniform", "hardmax"]
        names = [name for name in RETRIEVAL if name in COLORS or "control" in name]
    rows = {name: replace(RETRIEVAL[name], steps=steps) for name in names}
    try:
        source = describe(settings)
    except (OSError, ValueError) as error:
        parser.error(f"--text: {error}")

    rows_a = {(n, name): (row, n) for n in sizes for name, row in rows.items()}
    found_a = story.compare(train_retrieval, rows_a, args, "A  retrieval")
    results: dict[str, Any] = {
        "settings": {"seeds": args.seeds, "text": asdict(settings), "retrieval_steps": steps},
        "retrieval": {str(n): {name: found_a[n, name] for name in rows} for n in sizes},
        "text": story.compare(train_text, {name: (name, settings) for name in maps}, args, "B  text"),
        "source": source,
    }
    return story.finish("soft_vs_hard", args, results, in_words, report, draw)


def in_words(results: dict[str, Any]) -> list[str]:
    rows = results["retrieval"]["8"]
    soft, hard = (story.median(rows[name], "accuracy") for name in ("softmax", "hardmax (argmax)"))
    return [
        f"Among 8 keys softmax answers {soft:.1f} % right and argmax {hard:.1f} %.",
        f"A random route gives {random_route(8):.1f} %. Training moved argmax's query and key tables by exactly "
        f"{max(run['drift'] for run in rows['hardmax (argmax)']):g}.",
    ]


def report(results: dict[str, Any]) -> None:
    seeds, steps = results["settings"]["seeds"], results["settings"]["retrieval_steps"]
    for n, rows in results["retrieval"].items():
        lines = []
        for name, runs in rows.items():
            passed = [run["step_90"] for run in runs if run["step_90"]]
            when = story.spread(passed, "{:.0f}") if len(passed) == seeds else f"{len(passed)} of {seeds} seeds"
            lines.append([name, story.spread_of(runs, "accuracy"), when, story.spread_of(runs, "drift", "{:.3g}")])
        lines.append(["(computed) a random route", f"{random_route(int(n)):.1f}", "", ""])
        lines.append([f"(computed) guessing one of {N_VALUES} values", f"{100 / N_VALUES:.1f}", "", ""])
        title = f"A. Retrieval, N = {n}: median (range) of {seeds} seeds, {steps} steps"
        story.table(title, ["weights", "accuracy %", "step to 90 %", "drift of query and key tables"], lines)
    story.say(
        "(Answered as in training: REINFORCE and Gumbel from the choice they drew, the exact sum from its mixture.)"
    )
    report_text(results)


COLORS = {
    "softmax": "#1f6fb4", "straight-through": "#2e9d8f", "REINFORCE, moving baseline": "#8f63b8",
    "sparsemax": "#c98a1b", "hardmax (argmax)": "#c0392b",
}  # fmt: skip


@pictures.picture(1, 3, size=(15, 5))
def draw(results: dict[str, Any], *axes: Any) -> None:
    for axis, (n, rows) in zip(axes, results["retrieval"].items(), strict=False):
        window = min(50, results["settings"]["retrieval_steps"])
        for name, color in COLORS.items():
            curves = np.array([run["curve"] for run in rows[name]])
            pictures.band(axis, window + 10 * np.arange(curves.shape[1]), curves, color, name)
        pictures.level(axis, story.median(rows["control: uniform"], "accuracy"), "-", "uniform weights")
        pictures.level(axis, story.median(rows["control: hardmax, frozen tables"], "accuracy"), "--", "hardmax, frozen")
        pictures.level(axis, random_route(int(n)), "-.", "random route")
        pictures.level(axis, 100 / N_VALUES, ":", "guessing")
        axis.set(title=f"Retrieval among {n}", xlabel="training step", ylabel="accuracy, %", ylim=(0, 102))
        pictures.legend_below(axis)
    draw_text(results, axes[len(results["retrieval"])])


if __name__ == "__main__":
    story.tell(main)
