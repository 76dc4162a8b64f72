"""Digits: a small transformer reads real handwriting in patches of 2 × 2 pixels, and shows where it looked.

You will see the 1,797 digits of 8 × 8 pixels that come with scikit-learn. Each is cut into 16 patches, its tokens
(Dosovitskiy et al. 2021, An Image is Worth 16x16 Words): one transformer block, then a class token asks all patches.

      .#:       |  |.#|: |  |     It learns from 1,297 digits and is tested on 500, shuffled anew for each seed (writers
      ##*#.     |  |##|*#|. |     are not kept apart). Half of each training batch is moved by up to one pixel. Settings
      #  *:     |  |# | *|: |     were chosen for softmax with other seeds. There is no early stopping.
     .*  ::     | .|* | :|: |
     .:  ::     | .|: | :|: |     Controls: the same weight for all patches; argmax, also trained straight-through; no
     .*  *:     | .|* | *|: |     positions, which makes an image a bag of patches; softmax regression and an MLP on all
      #.**      |  |#.|**|  |     64 pixels, which use no attention. Some controls read as well: the model need not look
      .#*       |  |.#|* |  |     where it does look.

In some seeds one patch gets most of the weight, even an empty corner. Mostly its pixels are not why: exchange those
for another image's, and then exchange the patch as it leaves the block, with all that it has gathered from the others.

Takes about 2.5 minutes on two cores; --quick less than 20 seconds.
"""

from __future__ import annotations

import story  # isort: skip (first: it hears Ctrl-C while the others load)

import importlib.util
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import minigrad as mg
import pictures
from minigrad import nn, optim


@dataclass(frozen=True)
class Settings:
    normalizer: Any = "softmax"  # from scores to weights, in the block and for the class token
    positions: bool = True
    pixels: str = ""  # no transformer, but this on all 64 pixels at once
    steps: int = 1500


ROWS = {
    "softmax": Settings(),
    "same weight for all": Settings(normalizer="uniform"),
    "argmax": Settings(normalizer="hardmax"),
    "argmax, straight-through": Settings(normalizer=mg.straight_through),
    "softmax, no positions": Settings(positions=False),
    "regression on pixels": Settings(pixels="regression"),
    "MLP on pixels": Settings(pixels="MLP"),
}


class Reader(nn.Module):
    def __init__(self, s: Settings, rng: np.random.Generator, d: int = 32, n_heads: int = 4) -> None:
        self.embed = nn.Linear(4, d, rng=rng)
        self.positions = nn.Parameter(rng.normal(0, 0.5, (16, d)), dtype=np.float32) if s.positions else 0.0
        self.block = nn.Block(d, n_heads, normalize=s.normalizer, rng=rng)
        self.norm = nn.LayerNorm(d)
        self.class_token = nn.Parameter(rng.normal(0, 1, (1, d)), dtype=np.float32)
        self.attn = nn.MultiHeadAttention(d, n_heads, normalize=s.normalizer, rng=rng)
        self.head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 2 * d, rng=rng), mg.gelu, nn.Linear(2 * d, 10, rng=rng))

    def patches(self, images: np.ndarray) -> mg.Tensor:
        cut = images.reshape(-1, 4, 2, 4, 2).swapaxes(2, 3).reshape(-1, 16, 4)
        return self.norm(self.block(self.embed(mg.Tensor(cut)) + self.positions))  # (B, 16, d)

    def read(self, patches: mg.Tensor) -> mg.Tensor:
        y = self.class_token + self.attn(self.class_token, patches)  #     (B, 1, d)
        return self.head(y[:, 0])  #                                       (B, 10)

    def forward(self, images: np.ndarray) -> mg.Tensor:
        return self.read(self.patches(images))


def reader(s: Settings, rng: np.random.Generator) -> Any:
    if not s.pixels:
        return Reader(s, rng)
    hidden = [nn.Linear(64, 64, rng=rng), mg.relu] if s.pixels == "MLP" else []
    return nn.Sequential(lambda images: mg.Tensor(images.reshape(-1, 64)), *hidden, nn.Linear(64, 10, rng=rng))


def train(s: Settings, seed: int) -> dict[str, Any]:
    from sklearn.datasets import load_digits

    model, data = reader(s, np.random.default_rng([seed, 0])), np.random.default_rng([seed, 1])
    images, digits = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8) / 8).astype(np.float32)  # paper is 0, ink up to 2
    learn, test = np.split(data.permutation(len(digits)), [1297])
    before, optimizer = model.state_dict(), optim.Adam(model.parameters())
    for step in range(s.steps):
        batch = data.choice(learn, 32, replace=False)
        x, (down, right) = images[batch], data.integers(0, 3, 2)
        x[:16] = np.pad(x[:16], ((0, 0), (1, 1), (1, 1)))[:, down : down + 8, right : right + 8]
        loss = mg.cross_entropy(model(x), digits[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.lr = optim.cosine_schedule(step, lr=6e-3, warmup=min(50, s.steps - 1), steps=s.steps)
        optimizer.step()
    answers = model(images[test]).numpy().argmax(-1)
    found: dict[str, Any] = {"accuracy": 100 * float((answers == digits[test]).mean())}
    if not s.pixels:
        moved = {name: np.abs(a - before[name]).max() for name, a in model.state_dict().items()}
        found["drift"] = float(max(d for name, d in moved.items() if ".query." in name or ".key." in name))
        found |= favourite(model, images[test], digits[test])
        if seed == 0:
            found["shown"] = some_of_the_test(model, images[test], digits[test], answers)
    return found


def favourite(model: Reader, images: np.ndarray, digits: np.ndarray) -> dict[str, Any]:
    """The patch that the class token looks at most, and how well it reads when that is another image's, or another is.

    It is exchanged after the block, with what it has gathered from the others, or before, as its four pixels.
    """
    patches = model.patches(images).numpy()
    looks = model.attn.weights(model.class_token, mg.Tensor(patches)).mean((0, 1, 2))  # over images and heads
    most, pixels = int(looks.argmax()), images.copy()
    cut = pixels.reshape(-1, 4, 2, 4, 2)[:, most // 4, :, most % 4]
    cut[:] = np.roll(cut, 1, axis=0)

    def accuracy(patches: np.ndarray, exchanged: int | None = None) -> float:
        if exchanged is not None:
            patches = patches.copy()
            patches[:, exchanged] = np.roll(patches[:, exchanged], 1, axis=0)
        return 100 * float((model.read(mg.Tensor(patches)).numpy().argmax(-1) == digits).mean())

    return {
        "favourite": most,
        "looks": 100 * float(looks[most]),
        "after the block": accuracy(patches, most),
        "before it": accuracy(model.patches(pixels).numpy()),
        "another": float(np.mean([accuracy(patches, other) for other in range(16) if other != most])),
    }


def some_of_the_test(model: Reader, images: np.ndarray, digits: np.ndarray, answers: np.ndarray) -> dict[str, Any]:
    """The first of each digit that was read right and the first two read wrong, and where the class token looked."""
    right = [np.flatnonzero((answers == d) & (digits == d))[:1] for d in range(10)]
    shown = np.concatenate([*right, np.flatnonzero(answers != digits)[:2]])
    looks = model.attn.weights(model.class_token, model.patches(images[shown])).mean(1)  # over the heads
    return {
        "images": (8 * images[shown]).astype(int).tolist(),
        "looks_at": looks.reshape(-1, 4, 4).astype(float).round(3).tolist(),
        "digits": digits[shown].tolist(),
        "answers": answers[shown].tolist(),
    }


# --- what was seen ---------------------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = story.flags(__doc__, steps="training steps")
    args = story.parse(parser, argv)
    if importlib.util.find_spec("sklearn") is None:
        parser.error("the digits come with scikit-learn: pip install scikit-learn, or 'minigrad[examples]'")
    steps = args.steps or (300 if args.quick else Settings.steps)
    rows = story.compare(train, {name: replace(s, steps=steps) for name, s in ROWS.items()}, args, "digits")
    return story.finish("digits", args, {"steps": steps, "rows": rows}, in_words, report, draw)


def report(results: dict[str, Any]) -> None:
    lines = []
    for name, runs in results["rows"].items():
        drift = story.spread_of(runs, "drift", "{:.2g}") if "drift" in runs[0] else ""
        lines.append([name, story.spread_of(runs, "accuracy"), drift])
    lines.append(["(computed) guessing one of ten", "10.0", ""])
    title = f"500 digits not learned from: median (range) of {len(runs)} seeds, {results['steps']} steps"
    story.table(title, ["", "read right, %", "drift of query and key weights"], lines)
    lines = [
        [name, *(story.spread_of(runs, key) for key in ("looks", "after the block", "before it", "another"))]
        for name, runs in results["rows"].items()
        if "looks" in runs[0] and name != "same weight for all"
    ]
    head = [
        "",
        "its weight, %",
        "read right with another image's",
        "exchanged as pixels",
        "one of the other 15 instead",
    ]
    story.table("The patch that the class token looks at most", head, lines)


def in_words(results: dict[str, Any]) -> list[str]:
    read = {name: f"{story.median(runs, 'accuracy'):.1f} %" for name, runs in results["rows"].items()}

    def of(key: str) -> str:
        return story.spread_of(results["rows"]["softmax"], key, "{:.0f}")

    return [
        f"Softmax attention over patches reads {read['softmax']} of 500 unseen digits right.",
        f"The same weight for all patches reads {read['same weight for all']}, argmax {read['argmax']}, an MLP on all "
        f"pixels {read['MLP on pixels']}. "
        f"The patch that softmax looks at most takes {of('looks')} % of the weight. Exchanged for another image's it "
        f"leaves {of('after the block')} % read right, as pixels {of('before it')} %, one of the others in its stead "
        f"{of('another')} %.",
    ]


@pictures.picture(1, 2, size=(13, 4.2), dark=True, width_ratios=[1, 1.75])
def draw(results: dict[str, Any], dots: Any, images: Any) -> None:
    rows, shown = results["rows"], results["rows"]["softmax"][0]["shown"]
    for y, (name, runs) in enumerate(rows.items()):
        dots.plot([run["accuracy"] for run in runs], [y] * len(runs), "o", color="C6" if "pixels" in name else "C0")
    dots.set(title="Softmax reads digits, argmax fewer")
    dots.set(xlabel="read right of 500, %: each seed", ylim=(len(rows) - 0.5, -0.5))
    dots.set_yticks(range(len(rows)), list(rows))

    looks_at = np.array(shown["looks_at"])
    images.set(title="Blue is where the class token looked, mean of 4 heads", xlim=(0, 32), ylim=(13.2, -1.2))
    images.set_axis_off()
    images.set_aspect("equal")
    paper = 26 * np.ones((8, 8))
    for i, (image, looks) in enumerate(zip(shown["images"], looks_at, strict=True)):
        x, y = 5.4 * (i % 6), 6.1 * (i // 6)
        place = {"extent": (x, x + 4.4, y + 4.4, y), "interpolation": "nearest"}
        images.imshow(paper - image, cmap="gray", vmin=0, vmax=26, **place)
        images.imshow(np.ones((4, 4)), cmap="Blues", vmin=0, vmax=1.3, alpha=0.85 * looks / looks_at.max(), **place)
        digit, answer = shown["digits"][i], shown["answers"][i]
        text = str(answer) if answer == digit else f"{answer}, is {digit}"
        images.text(x + 2.2, y - 0.15, text, ha="center", va="bottom", weight="bold")
    run = {key: f"{figure:.0f} %" for key, figure in rows["softmax"][0].items() if isinstance(figure, float)}
    images.text(
        0, 11.4, f"In this seed one patch takes {run['looks']} of the weight. Exchanged for another image's, it leaves"
        f"\n{run['after the block']} read right, as pixels, before the block, {run['before it']}; one of the others in "
        f"its stead, {run['another']}.", va="top",
    )  # fmt: skip


if __name__ == "__main__":
    story.tell(main)
