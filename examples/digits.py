"""Digits: a small transformer reads real handwriting in patches of 2 × 2 pixels, and shows where it looked.

You will see the 1,797 digits of 8 × 8 pixels that scikit-learn brings along, each cut into 16 patches, its tokens
(Dosovitskiy et al. 2021, An Image is Worth 16x16 Words): one transformer block, then a class token asks all patches.

      .#:       |  |.#|: |  |     1,297 to learn from, 500 to test on, shuffled anew for each seed (writers are not
      ##*#.     |  |##|*#|. |     kept apart). Half of each training batch is moved by up to one pixel. Settings were
      #  *:     |  |# | *|: |     chosen for softmax with other seeds, which shuffle these same images otherwise. There
     .*  ::     | .|* | :|: |     is no early stopping.
     .:  ::     | .|: | :|: |
     .*  *:     | .|* | *|: |     Controls: the same weight for all patches; argmax, also trained straight-through;
      #.**      |  |#.|**|  |     no positions: a bag of patches. Softmax regression and an MLP on all 64 pixels show
      .#*       |  |.#|* |  |     what can be had without attention. Some controls come as far: where it looked is
                                  not where it had to look.

Takes about 1.5 minutes on two cores; --quick less than 20 seconds.
"""

from __future__ import annotations

import importlib.util
import statistics
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import minigrad as mg
import story
from minigrad import nn, optim


@dataclass(frozen=True)
class Row:
    weights: Any = "softmax"  # from scores to weights, in the block and for the class token
    positions: bool = True
    pixels: str = ""  # no transformer, but this on all 64 pixels at once
    steps: int = 1500


ROWS = {
    "softmax": Row(), "same weight for all": Row("uniform"), "argmax": Row("hardmax"),
    "argmax, straight-through": Row(mg.straight_through), "softmax, no positions": Row(positions=False),
    "regression on pixels": Row(pixels="regression"), "MLP on pixels": Row(pixels="MLP"),
}  # fmt: skip
COLORS = ("#1f6fb4", "#6b7683", "#c0392b", "#2e9d8f", "#8f63b8", "#3b4652", "#c98a1b")
GOAL = 95  # percent read right


class Reader(nn.Module):
    def __init__(self, row: Row, rng: np.random.Generator, d: int = 32, n_heads: int = 4) -> None:
        self.embed = nn.Linear(4, d, rng=rng)
        self.positions = nn.Parameter(rng.normal(0, 0.5, (16, d)), dtype=np.float32) if row.positions else 0.0
        self.block = nn.Block(d, n_heads, normalize=row.weights, rng=rng)
        self.norm = nn.LayerNorm(d)
        self.class_token = nn.Parameter(rng.normal(0, 1, (1, d)), dtype=np.float32)
        self.attn = nn.MultiHeadAttention(d, n_heads, normalize=row.weights, rng=rng)
        self.head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 2 * d, rng=rng), mg.gelu, nn.Linear(2 * d, 10, rng=rng))

    def patches(self, images: np.ndarray) -> mg.Tensor:
        cut = images.reshape(-1, 4, 2, 4, 2).swapaxes(2, 3).reshape(-1, 16, 4)
        return self.norm(self.block(self.embed(mg.Tensor(cut)) + self.positions))  # (B, 16, d)

    def forward(self, images: np.ndarray) -> mg.Tensor:
        y = self.class_token + self.attn(self.class_token, self.patches(images))  # (B, 1, d)
        return self.head(y[:, 0])  # (B, 10)


def reader(row: Row, rng: np.random.Generator) -> Any:
    if not row.pixels:
        return Reader(row, rng)
    hidden = [nn.Linear(64, 64, rng=rng), mg.relu] if row.pixels == "MLP" else []
    return nn.Sequential(lambda images: mg.Tensor(images.reshape(-1, 64)), *hidden, nn.Linear(64, 10, rng=rng))


def train(row: Row, seed: int) -> dict[str, Any]:
    from sklearn.datasets import load_digits

    model, data = reader(row, np.random.default_rng([seed, 0])), np.random.default_rng([seed, 1])
    data_set = load_digits()
    images, digits = (data_set.images / 8).astype(np.float32), data_set.target  # paper 0, ink up to 2
    learn, test = np.split(data.permutation(len(digits)), [1297])
    before, optimizer = model.state_dict(), optim.Adam(model.parameters())
    for step in range(row.steps):
        optimizer.lr = optim.cosine_schedule(step, lr=6e-3, warmup=min(50, row.steps - 1), steps=row.steps)
        batch = data.choice(learn, 32, replace=False)
        x, (down, right) = images[batch], data.integers(0, 3, 2)
        x[:16] = np.pad(x[:16], ((0, 0), (1, 1), (1, 1)))[:, down : down + 8, right : right + 8]
        loss = mg.cross_entropy(model(x), digits[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    answers = model(images[test]).numpy().argmax(-1)
    found: dict[str, Any] = {"accuracy": 100 * float((answers == digits[test]).mean())}
    if not row.pixels:
        moved = {name: np.abs(a - before[name]).max() for name, a in model.state_dict().items()}
        found["drift"] = float(max(d for name, d in moved.items() if ".query." in name or ".key." in name))
        if seed == 0:  # to look at: the first of each digit read right, and the first two read wrong
            firsts = [np.flatnonzero((answers == d) & (digits[test] == d))[:1] for d in range(10)]
            shown = np.concatenate([*firsts, np.flatnonzero(answers != digits[test])[:2]])
            looks = model.attn.weights(model.class_token, model.patches(images[test[shown]])).mean(1)
            found["shown"] = {
                "images": (8 * images[test[shown]]).astype(int).tolist(),
                "looks_at": looks.reshape(-1, 4, 4).astype(float).round(3).tolist(),
                "digits": digits[test[shown]].tolist(), "answers": answers[shown].tolist(),
            }  # fmt: skip
    return found


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = story.flags(__doc__, steps="training steps")
    args = story.parse(parser, argv)
    if importlib.util.find_spec("sklearn") is None:
        parser.error("the digits come with scikit-learn: pip install scikit-learn, or 'minigrad[examples]'")
    steps = args.steps or (300 if args.quick else Row.steps)
    rows = story.compare(train, {name: replace(row, steps=steps) for name, row in ROWS.items()}, args, "digits")
    lines = []
    for name, runs in rows.items():
        drift = story.spread_of(runs, "drift", "{:.2g}") if "drift" in runs[0] else ""
        lines.append([name, story.spread_of(runs, "accuracy"), drift])
    lines.append(["(computed) guessing one of ten", f"{100 / 10:.1f}", ""])
    title = f"500 digits not learned from: median (range) of {args.seeds} seeds, {steps} steps"
    story.table(title, ["", "read right, %", "drift of query and key weights"], lines)
    draw(rows, args.out / "digits.png")
    results: dict[str, Any] = {"steps": steps, "rows": rows}
    return story.finish(args, results, in_words(results))


def in_words(results: dict[str, Any]) -> list[str]:
    """What was seen, from the numbers."""
    rows = results["rows"]
    read = {name: story.median(runs, "accuracy") for name, runs in rows.items()}
    soft, mlp = read["softmax"], read["MLP on pixels"]
    pairs = zip(rows["softmax"], rows["same weight for all"], strict=True)
    gains = [a["accuracy"] - b["accuracy"] for a, b in pairs]
    gain, ahead = statistics.median(gains), sum(g > 0 for g in gains)
    worth = "helps" if gain > 0 and ahead > len(gains) / 2 else "does not help here"
    still = all(run["drift"] == 0 for run in rows["argmax"])
    return [
        f"Of 500 digits not learned from, softmax attention over patches reads {soft:.1f} % right"
        + (f" (BELOW {GOAL} %)" if soft < GOAL else "")
        + f"; the same weight for all {read['same weight for all']:.1f} %, argmax {read['argmax']:.1f} %, an MLP "
        f"on all pixels {mlp:.1f} %.",
        f"Choosing where to look {worth}: {gain:+.1f} points over the same weight for all (median over seeds; ahead in "
        f"{ahead} of {len(gains)}). "
        + f"The MLP is {abs(mlp - soft):.1f} points {'ahead' if mlp > soft else 'behind'}"
        + (": images this small do not need attention." if mlp > soft - 0.5 else "."),
        f"Straight-through, argmax reads {read['argmax, straight-through']:.1f} %; softmax without positions, a bag of "
        f"patches, {read['softmax, no positions']:.1f} %; regression on pixels {read['regression on pixels']:.1f} %. "
        + ("Argmax's queries and keys are bit for bit what they were at the start." if still
           else "ARGMAX'S QUERIES AND KEYS MOVED."),
    ]  # fmt: skip


def draw(rows: dict[str, Any], path: Any) -> None:
    plt = story.pyplot()
    if plt is None:
        return
    figure = plt.figure(figsize=(12, 4.6))
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.25])
    dots, shown = left.subplots(), rows["softmax"][0]["shown"]
    for y, ((name, runs), color) in enumerate(zip(rows.items(), COLORS, strict=True)):
        seen = [run["accuracy"] for run in runs]
        middle = statistics.median(seen)
        dots.plot([min(seen), max(seen)], [y, y], color=color, linewidth=4, alpha=0.35, solid_capstyle="round")
        dots.plot(middle, y, "o", color=color)
        dots.text(min(seen) - 0.8, y, f"{name} {middle:.1f}", color=color, va="center", ha="right")
    dots.axvline(GOAL, color="#3b4652", linestyle="--", linewidth=1)
    lowest = min(run["accuracy"] for runs in rows.values() for run in runs)
    dots.set(title="500 digits not learned from", xlabel="read right, %: median and range of the seeds")
    dots.set(xlim=(lowest - 32, 101), ylim=(len(rows) - 0.5, -0.5), yticks=[])  # room for the longest name
    right.suptitle("What was read, and where the class token looked", weight="bold")
    right.supxlabel("blue: weight of a patch, mean of 4 heads", size="medium")
    axes = right.subplots(2, 6).ravel()
    most, keys = np.max(shown["looks_at"]), ("images", "looks_at", "digits", "answers")
    for axis in axes:
        axis.set_axis_off()
    for axis, image, looks, digit, answer in zip(axes, *map(shown.get, keys), strict=False):
        axis.imshow(image, cmap="Greys", vmin=0, vmax=26, extent=(0, 4, 4, 0))
        axis.imshow(
            np.ones((4, 4)), cmap="Blues", vmin=0, vmax=1.3, alpha=0.85 * np.array(looks) / most, extent=(0, 4, 4, 0)
        )
        wrong = digit != answer
        axis.set_title(f"{answer}, is {digit}" if wrong else answer, color="#c0392b" if wrong else "#3b4652")
    story.save_picture(figure, path)
    plt.close(figure)


if __name__ == "__main__":
    main()
