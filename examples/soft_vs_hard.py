"""Why attention is soft: the same models with softmax, with argmax, and with everything in between.

You will see two experiments. What changes is the map from scores to weights, or how a hard choice is trained, and in
some rows how large the query and key tables are at the start:

  A  Retrieval. N (key, value) pairs and a query key; answer with the value stored under that key:

         keys   c  a  f  d        query  f        answer  7
         values 2  5  7  2

     Keys are drawn without repetition from 2N, values from 8, fresh for every batch. To solve it the query and key
     tables must come to agree. No residual path, no weight decay, no layer norm: each would blur whether they moved.

  B  Real text. A one-block GPT, next-character prediction. Residual path and MLP learn without attention,
     so here the question is how far each map gets.

Takes about 5 minutes on two cores; --quick less than 20 seconds.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import platform
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
import story
from minigrad import nn, optim, text


@dataclass(frozen=True)
class Retrieve:
    """One row of experiment A."""

    weights: str = "softmax"  # a map of minigrad's, or how a hard choice is trained: see Retrieval.forward
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
TEXT_MAPS = ["softmax", "entmax15", "sparsemax", "uniform", "hardmax"]
CURVES = {
    "softmax": "#1f6fb4", "straight-through": "#2e9d8f", "REINFORCE, moving baseline": "#8f63b8",
    "sparsemax": "#c98a1b", "hardmax (argmax)": "#c0392b", "entmax15": "#2e9d8f", "uniform": "#6b7683",
    "hardmax": "#c0392b",
}  # fmt: skip
N_VALUES = 8


class Retrieval(nn.Module):
    """query, key and value tables; scores = q·k/√d; weights from the scores; an output layer."""

    def __init__(self, n: int, row: Retrieve, rng: np.random.Generator) -> None:
        self.row, self.rng = row, rng
        for name, rows in (("query", 2 * n), ("key", 2 * n), ("value", N_VALUES)):
            table = nn.Embedding(rows, row.d, rng=rng)
            table.weight.data = row.scale * table.weight.data
            setattr(self, name, table)
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
        if how == "exact":  # each choice's loss, weighted by its probability: no sampling, N times the work
            weights = mg.softmax(scores)
            logits = self.out(v)  # (B, N, N_VALUES)
            losses = mg.cross_entropy(logits, np.repeat(answer[:, None], keys.shape[1], 1), reduction="none")
            mixture = (weights[:, :, None] * mg.softmax(logits)).sum(axis=1)
            return (weights * losses).sum(axis=-1).mean(), mixture.numpy().argmax(-1) == answer
        if how.startswith("reinforce"):  # draw one choice, reward it by minus its loss
            log_p = mg.log_softmax(scores)
            choice = (log_p.numpy() + self.rng.gumbel(size=scores.shape)).argmax(-1)
            rows = np.arange(len(choice))
            logits = self.out(v[rows, choice])
            losses = mg.cross_entropy(logits, answer, reduction="none")
            reward = -losses.detach().numpy()
            loss = losses.mean() + mg.reinforce(log_p[rows, choice], reward, self.baseline)
            if how == "reinforce":
                self.baseline = 0.9 * self.baseline + 0.1 * float(reward.mean())
            return loss, logits.numpy().argmax(-1) == answer
        weights = mg.gumbel_softmax(scores, rng=self.rng) if how == "gumbel" else getattr(mg, how)(scores)
        logits = self.out((weights[:, None, :] @ v)[:, 0])  # (B, N_VALUES)
        return mg.cross_entropy(logits, answer), logits.numpy().argmax(-1) == answer


def questions(n: int, batch: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    keys = rng.permuted(np.tile(np.arange(2 * n), (batch, 1)), axis=1)[:, :n]
    values = rng.integers(0, N_VALUES, (batch, n))
    where = rng.integers(0, n, batch)
    rows = np.arange(batch)
    return keys[rows, where], keys, values, values[rows, where]


def drift(before: dict[str, Any], after: dict[str, Any], names: tuple[str, ...]) -> float:
    """How far the query and key parameters moved: the largest change of any of their numbers."""
    return max(float(np.abs(after[n] - before[n]).max()) for n in before if any(part in n.split(".") for part in names))


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
        "drift": drift(before, model.state_dict(), ("query", "key")),
        "curve": [round(100 * float(a), 2) for a in trailing[::10]],
    }


@dataclass(frozen=True)
class Text:
    """Experiment B."""

    path: str | None = None
    block_size: int = 32
    d_model: int = 64
    n_heads: int = 4
    batch: int = 32
    steps: int = 800
    lr: float = 3e-3
    evaluate_every: int = 100
    evaluate_batches: int = 60


def train_text(setting: tuple[str, Text], seed: int) -> dict[str, Any]:
    """Train one map of B; validation loss in bits per character."""
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
    optimizer = optim.Adam(model.parameters(), lr=settings.lr)  # no weight decay: it would move the router, too
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
    return {"bits": curve[-1][1], "curve": curve, "drift": drift(before, model.state_dict(), ("query", "key"))}


@mg.no_grad()
def bits_per_character(model: nn.GPT, ids: np.ndarray, settings: Text) -> float:
    batches = text.batches(ids, settings.block_size, settings.batch, np.random.default_rng(0))  # the same for every map
    losses = [mg.cross_entropy(model(x), y).item() for x, y in itertools.islice(batches, settings.evaluate_batches)]
    return statistics.mean(losses) / math.log(2)


def random_route(n: int) -> float:
    """Expected accuracy, in percent, of reading one pair at random: right by luck where it holds the same value."""
    return 100 * (1 / n + (1 - 1 / n) / N_VALUES)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = story.flags(__doc__, steps="training steps of both experiments")
    parser.add_argument("--text", metavar="FILE", help="train B on this text (default: Python's own help texts)")
    args = story.parse(parser, argv)
    sizes, rows, maps, settings = [8, 32], dict(RETRIEVAL), TEXT_MAPS, Text(args.text)
    if args.quick:
        sizes, maps, settings = [8], ["softmax", "uniform", "hardmax"], replace(settings, steps=120, evaluate_every=40)
        quick = ("softmax", "straight-through", "REINFORCE, moving baseline", "sparsemax", "hardmax (argmax)")
        rows = {name: replace(row, steps=300) for name, row in rows.items() if name in quick or "control" in name}
    if args.steps:
        rows = {name: replace(row, steps=args.steps) for name, row in rows.items()}
        settings = replace(settings, steps=args.steps, evaluate_every=max(1, args.steps // 4))
    try:
        source = text.load(settings.path)
        if len(source) < 20 * settings.block_size:
            raise ValueError(
                f"{settings.path} has {len(source)} characters, too short for blocks of {settings.block_size}"
            )
    except (OSError, ValueError) as error:
        parser.error(f"--text: {error}")

    rows_a = {(n, name): (row, n) for n in sizes for name, row in rows.items()}
    found_a = story.compare(train_retrieval, rows_a, args, "A  retrieval")
    found_b = story.compare(train_text, {name: (name, settings) for name in maps}, args, "B  text")
    results: dict[str, Any] = {
        "settings": {"seeds": args.seeds, "text": asdict(settings), "retrieval_steps": rows["softmax"].steps},
        "retrieval": {str(n): {name: found_a[n, name] for name in rows} for n in sizes},
        "text": found_b,
        "source": {
            "name": args.text or f"pydoc_data.topics of Python {platform.python_version()}",
            "characters": len(source), "sha256": hashlib.sha256(source.encode()).hexdigest(),
            "unigram": text.unigram_entropy(source), "bigram": text.bigram_entropy(source),
        },
    }  # fmt: skip
    report(results)
    draw(results, args.out / "soft_vs_hard.png")
    return story.finish(args, results, in_words(results))


def report(results: dict[str, Any]) -> None:
    source, seeds = results["source"], results["settings"]["seeds"]
    for n, rows in results["retrieval"].items():
        lines = []
        for name, runs in rows.items():
            passed = [run["step_90"] for run in runs if run["step_90"]]
            steps = story.spread(passed, "{:.0f}") if len(passed) == seeds else f"{len(passed)} of {seeds} seeds"
            lines.append([
                name, story.spread_of(runs, "accuracy"), steps if passed else "never",
                story.spread_of(runs, "drift", "{:.3g}"),
            ])  # fmt: skip
        lines.append(["(computed) a random route", f"{random_route(int(n)):.1f}", "", ""])
        lines.append([f"(computed) guessing one of {N_VALUES} values", f"{100 / N_VALUES:.1f}", "", ""])
        story.table(
            f"A. Retrieval, N = {n}: median (range) of {seeds} seeds, {results['settings']['retrieval_steps']} steps",
            ["weights", "accuracy %", "step to 90 %", "drift of query and key tables"], lines,
        )  # fmt: skip
    print("(Answered as in training: REINFORCE and Gumbel from the choice they drew, the exact sum from its mixture.)")
    story.table(
        f"B. {source['name']} ({source['characters']:,} characters, sha256 {source['sha256'][:12]}): "
        f"median (range) of {seeds} seeds, {results['settings']['text']['steps']} steps",
        ["weights", "validation, bits per character", "drift of query and key weights"],
        [
            *(
                [name, story.spread_of(runs, "bits", "{:.2f}"), story.spread_of(runs, "drift", "{:.3g}")]
                for name, runs in results["text"].items()
            ),
            ["(the text's own) bigram entropy", f"{source['bigram']:.2f}", ""],
            ["(the text's own) unigram entropy", f"{source['unigram']:.2f}", ""],
        ],
    )


def in_words(results: dict[str, Any]) -> list[str]:
    """What was seen, from the numbers."""
    median, lines = story.median, []
    for n, rows in results["retrieval"].items():
        hard, soft = rows["hardmax (argmax)"], rows["softmax"]
        still = all(run["drift"] == 0 for run in hard)
        same = [r["accuracy"] for r in hard] == [r["accuracy"] for r in rows["control: hardmax, frozen tables"]]
        pooled = median(rows["control: uniform"], "accuracy")
        lines.append(
            f"N = {n}: softmax answers {median(soft, 'accuracy'):.1f} % and argmax {median(hard, 'accuracy'):.1f} % "
            f"(a random route {random_route(int(n)):.1f} %, uniform pooling {pooled:.1f} %). "
            + (
                "Argmax's query and key tables are bit for bit what they were at the start"
                if still
                else "ARGMAX'S TABLES MOVED"
            )
            + (", and freezing them gives the very same runs." if same else ".")
        )
        trained = [
            name
            for name in ("straight-through", "Gumbel straight-through", "REINFORCE, moving baseline")
            if name in rows
        ]
        lines.append(
            f"N = {n}: the hard choice can be trained by an estimator: "
            + ", ".join(f"{name} {median(rows[name], 'accuracy'):.1f} %" for name in trained) + "."
        )  # fmt: skip
    bits = {name: median(runs, "bits") for name, runs in results["text"].items()}
    order = sorted(bits, key=bits.__getitem__)
    moved = max(run["drift"] for run in results["text"]["hardmax"])
    lines.append(
        "Text, best first: " + ", ".join(f"{name} {bits[name]:.2f}" for name in order) + " bits per character. "
        + ("Hardmax learns, too, around its attention, whose query and key weights never move."
           if moved == 0 else f"HARDMAX'S QUERY AND KEY WEIGHTS MOVED BY {moved:.3g}.")
    )  # fmt: skip
    return lines


def draw(results: dict[str, Any], path: Path) -> None:
    plt = story.pyplot()
    if plt is None:
        return
    panels = [*results["retrieval"], "text"]
    figure, axes = plt.subplots(1, len(panels), figsize=(5 * len(panels), 5))
    for axis, (n, rows) in zip(axes, results["retrieval"].items(), strict=False):
        window = min(50, results["settings"]["retrieval_steps"])
        for name in [name for name in CURVES if name in rows]:
            curves = np.array([run["curve"] for run in rows[name]])
            story.band(axis, window + 10 * np.arange(curves.shape[1]), curves, CURVES[name], name)
        controls = {
            "uniform weights": (statistics.median(r["accuracy"] for r in rows["control: uniform"]), "-"),
            "hardmax, frozen": (
                statistics.median(r["accuracy"] for r in rows["control: hardmax, frozen tables"]),
                "--",
            ),
            "random route": (random_route(int(n)), "-."),
            "guessing": (100 / N_VALUES, ":"),
        }
        for name, (level, dashes) in controls.items():
            axis.axhline(level, color="#3b4652", linestyle=dashes, linewidth=1, label=name, zorder=1)
        axis.set(title=f"Retrieval among {n}", xlabel="training step", ylabel="accuracy, %", ylim=(0, 102))
        axis.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    axis, source = axes[-1], results["source"]
    for name, runs in results["text"].items():
        steps = [step for step, _ in runs[0]["curve"]]
        story.band(axis, steps, [[bits for _, bits in run["curve"]] for run in runs], CURVES[name], name)
    for name, dashes in (("unigram", ":"), ("bigram", "--")):
        axis.axhline(source[name], color="#3b4652", linestyle=dashes, linewidth=1, label=f"{name} entropy")
    axis.set(title="Real text", xlabel="training step", ylabel="validation, bits per character")
    axis.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    story.save_picture(figure, path)
    plt.close(figure)


if __name__ == "__main__":
    main()
