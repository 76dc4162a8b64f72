"""Softmax by its numbers: every figure an article on softmax shows, computed here with minigrad.

You will see how scores become weights,

    scores  4  2  1      softmax  0.84  0.11  0.04      divided by their sum  0.57  0.29  0.14

what temperature does to them, where simpler ways break, that the same function serves 3 words or 100, and what gradient
each way gives its scores. Takes about a second; draws one picture.
"""

from __future__ import annotations

import story  # isort: skip (first: it hears Ctrl-C while the others load)
import contextlib
import io
from typing import Any

import numpy as np

import minigrad as mg
from pictures import picture

SCORES = [4.0, 2.0, 1.0]
VOTES = {"A": 2.1, "B": 0.4, "C": 1.8, "D": -0.6}  # scores of four candidates
TEMPERATURES = [0.1, 0.5, 1.0, 2.0, 10.0]
NORMALIZERS = ["softmax", "hardmax", "sum_normalize", "sigmoid_normalize", "top_k_softmax", "sparsemax", "entmax15"]


def show(numbers: Any, digits: int = 2, width: int = 0) -> str:
    return "  ".join(f"{x:z{width}.{digits}f}" for x in np.atleast_1d(numbers))


def from_scores_to_weights() -> dict[str, Any]:
    soft, simple = mg.softmax(SCORES), mg.sum_normalize(SCORES)
    print(f"\n1. From scores to weights. Scores {show(SCORES, 0)}")
    print(f"   softmax               {show(soft)}   sum {soft.sum().item():.4f}")
    print(f"   unrounded             {show(soft, 4)}")
    print(f"   simple normalization  {show(simple)}   sum {simple.sum().item():.4f}")
    print(f"   Softmax gives 4 not twice the weight of 2 but {(soft[0] / soft[1]).item():.1f} times:")
    print("   a difference d between scores becomes a ratio exp(d) between weights.")
    return {"softmax": soft.data.tolist(), "simple": simple.data.tolist()}


def a_vote() -> dict[str, Any]:
    scores = list(VOTES.values())
    weights, hard = mg.softmax(scores).data, mg.hardmax(scores).data
    print("\n2. A vote.")
    for (name, score), weight, winner in zip(VOTES.items(), weights, hard, strict=True):
        bar = "█" * round(40 * float(weight))
        print(f"   {name}  score {score:5.1f}   softmax {weight:.2f} {bar:<21}  argmax {winner:.0f}")
    print("   Argmax forgets how close C came; softmax does not.")
    return {"votes": dict(zip(VOTES, weights.tolist(), strict=True))}


def temperature() -> dict[str, Any]:
    print("\n3. Temperature: softmax(scores / τ), for the scores of the vote.")
    rows = {tau: mg.softmax(np.array(list(VOTES.values())) / tau).data for tau in TEMPERATURES}
    for tau, row in rows.items():
        print(f"   τ = {tau:>4}   {show(row)}")
    print("   A small τ approaches argmax; a large τ gives all nearly the same weight.")
    return {"temperature": {str(tau): row.tolist() for tau, row in rows.items()}}


def where_simpler_ways_break() -> dict[str, Any]:
    scores, far = np.array([2.0, -1.0, 0.5]), np.array([6.0, 9.0, 12.0])
    negative, huge = mg.sum_normalize(scores).data, mg.softmax([1000.0, 1001.0, 1002.0])

    def row(name: str, weights: str, note: str = "") -> None:
        print(f"   {name:<27} {weights}   {note}".rstrip())

    print("\n4. Where simpler ways break.")
    row("scores", show(scores))
    row("simple normalization", show(negative), "negative, and above 1")
    row("of scores that sum to 0", show(mg.sum_normalize(np.array([2.0, -1.0, -1.0]))))
    for name, squashed in (("sigmoid", mg.sigmoid(scores)), ("tanh", mg.tanh(scores))):
        row(name, show(squashed), f"sum {squashed.sum().item():.2f}, not 1")
    row("sigmoid, normalized", show(mg.sigmoid_normalize(scores)))
    row(f"... of {show(far, 0)}", show(mg.sigmoid_normalize(far), 4), "12 hardly beats 6")
    row(f"softmax of {show(far, 0)}", show(mg.softmax(far), 4))
    row("softmax of 1000, 1001, 1002", show(huge, 4), "exp(1000) is inf")
    print("   How softmax avoids that overflow stands in its docstring, under Numerics.")
    return {"negative": negative.tolist()}


def any_length() -> dict[str, Any]:
    print("\n5. Any length, the same function. One score of 3 among zeros:")
    largest = {}
    for n in (10, 100):
        weights = mg.softmax(np.array([3.0] + [0.0] * (n - 1)))
        largest[f"length {n}"] = weights.data[0].item()
        print(f"   {n:>3} words: the sum is {weights.sum().item():.6f}, the largest weight {weights.data[0]:.2f}")
    return largest


def gradients() -> dict[str, Any]:
    found, rows = {}, []
    for name in NORMALIZERS:
        k = {"k": 2} if name == "top_k_softmax" else {}
        x = mg.Tensor(SCORES, requires_grad=True)
        y = mg.OPS[name](x, **k)
        y[0].backward()
        found[f"gradient {name}"] = x.grad.tolist()
        rows.append([name + (", k = 2" if k else ""), show(y.data), show(x.grad, 3, 6)])
    title = f"6. What the scores {show(SCORES, 0)} learn: the gradient of the first weight."
    story.table(title, ["", "weights", "gradient"], rows)
    print("Where a whole gradient is exactly zero, whatever made the scores learns nothing.")
    return found


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = story.parse(story.flags(__doc__, seeds=0), argv)
    results: dict[str, Any] = {}
    chapters = io.StringIO()  # printed once the figures are written
    with contextlib.redirect_stdout(chapters):
        for chapter in (from_scores_to_weights, a_vote, temperature, where_simpler_ways_break, any_length, gradients):
            results |= chapter()
    return story.finish("softmax_tour", args, results, in_words, lambda _: story.say(chapters.getvalue()[:-1]), draw)


def in_words(results: dict[str, Any]) -> list[str]:
    zero = [name for name in NORMALIZERS if not any(results[f"gradient {name}"])]
    return [
        f"Softmax turns the scores {show(SCORES, 0)} into the weights {show(results['softmax'])}.",
        f"At these scores the gradient is exactly zero through {', '.join(zero)}.",
    ]


@picture(1, 2, size=(10, 3.8))
def draw(results: dict[str, Any], bars: Any, curves: Any) -> None:
    at = np.arange(len(VOTES))
    for i, tau in enumerate(reversed(TEMPERATURES)):
        color = ["#b8d4ee", "#7fb2dd", "#1f6fb4", "#174f80", "#0d2f4d"][i]
        bars.bar(at + (i - 2) * 0.16, results["temperature"][str(tau)], 0.15, color=color, label=f"τ = {tau:g}")
    bars.set(title="Temperature, from flat to sharp", ylabel="weight", ylim=(0, 1.02))
    bars.set_xticks(at, [f"{name}\nscore {score:g}" for name, score in VOTES.items()])
    bars.grid(axis="x", visible=False)
    taus = np.logspace(-2, 2, 200)
    weights = mg.softmax(np.array(list(VOTES.values())) / taus[:, None]).data
    for i, color in enumerate(["#c0392b", "#8793a0", "#1f6fb4", "#3b4652"]):
        curves.plot(taus, weights[:, i], color=color, label=list(VOTES)[i])
    curves.set(title="The same four scores at every τ", xscale="log", xlabel="temperature τ", ylim=(0, 1.02))
    bars.legend()
    curves.legend()


if __name__ == "__main__":
    story.tell(main)
