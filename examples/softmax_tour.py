"""Softmax by its numbers: every figure an article on softmax shows, computed here with minigrad.

You will see how scores become weights, what temperature does, where the simpler ways break, how the same function
serves 3 words or 100, and what the gradient of each way is. Takes about a second; draws one picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
import story

SCORES = [4.0, 2.0, 1.0]
VOTES = {"A": 2.1, "B": 0.4, "C": 1.8, "D": -0.6}  # scores of four candidates
TEMPERATURES = [0.1, 0.5, 1.0, 2.0, 10.0]


def show(numbers: Any, digits: int = 2) -> str:
    return "  ".join(f"{x:z.{digits}f}" for x in np.atleast_1d(numbers))


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = story.parse(story.flags(__doc__, seeds=0), argv)
    results: dict[str, Any] = {}

    soft, simple = mg.softmax(SCORES), mg.sum_normalize(SCORES)
    results["softmax"], results["simple"] = soft.data.tolist(), simple.data.tolist()
    print(f"1. From scores to weights. Scores {show(SCORES, 0)}")
    print(f"   softmax               {show(soft)}   sum {soft.sum().item():.4f}; unrounded {show(soft, 4)}")
    print(f"   simple normalization  {show(simple)}   sum {simple.sum().item():.4f}")
    print(f"   Softmax gives 4 not twice the weight of 2 but {(soft[0] / soft[1]).item():.1f} times:")
    print("   a difference d between scores becomes a ratio exp(d) between weights.")

    weights = mg.softmax(list(VOTES.values()))
    results["votes"] = dict(zip(VOTES, weights.data.tolist(), strict=True))
    hard = mg.hardmax(list(VOTES.values()))
    print("\n2. A vote.")
    for (name, score), weight, winner in zip(VOTES.items(), weights.data, hard.data, strict=True):
        bar = "█" * round(40 * float(weight))
        print(f"   {name}  score {score:5.1f}   softmax {weight:.2f} {bar:<21}  argmax {winner:.0f}")
    print("   Argmax forgets how close C came; softmax does not.")

    print("\n3. Temperature: softmax(scores / τ), for the scores of the vote.")
    rows = {tau: mg.softmax(np.array(list(VOTES.values())) / tau).data for tau in TEMPERATURES}
    results["temperature"] = {str(tau): row.tolist() for tau, row in rows.items()}
    for tau, row in rows.items():
        print(f"   τ = {tau:>4}   {show(row)}")
    print("   Small τ approaches argmax, large τ the same weight for all.")

    print("\n4. Where the simpler ways break.")
    scores = np.array([2.0, -1.0, 0.5])
    results["negative"] = mg.sum_normalize(scores).data.tolist()
    print(f"   scores                      {show(scores)}")
    print(f"   simple normalization        {show(results['negative'])}   a negative weight, and one above 1")
    print(f"   the same, sum 0             {show(mg.sum_normalize(np.array([2.0, -1.0, -1.0])))}")
    for name, squashed in (("sigmoid", mg.sigmoid(scores)), ("tanh", mg.tanh(scores))):
        print(f"   {name:<7}                     {show(squashed)}   sum {squashed.sum().item():.2f}, not 1")
    print(f"   sigmoid, normalized         {show(mg.sigmoid_normalize(scores))}")
    far = np.array([6.0, 9.0, 12.0])
    print(f"   ... of {show(far, 0)}            {show(mg.sigmoid_normalize(far), 4)}   saturated: 12 hardly beats 6")
    print(f"   softmax of {show(far, 0)}        {show(mg.softmax(far), 4)}")
    huge = mg.softmax([1000.0, 1001.0, 1002.0])
    print(f"   softmax of 1000, 1001, 1002 {show(huge, 4)}   although exp(1000) overflows: see its Numerics")

    print("\n5. Any length, the same function. One score of 3 among zeros:")
    for n in (10, 100):
        weights = mg.softmax(np.array([3.0] + [0.0] * (n - 1)))
        results[f"length {n}"] = weights.data[0].item()
        print(f"   {n:>3} words: the sum is {weights.sum().item():.6f}, the largest weight {weights.data[0]:.2f}")

    print("\n6. What each way tells its scores: the gradient of the first weight with respect to the scores 4, 2, 1.")
    for name in ("softmax", "hardmax", "sum_normalize", "sigmoid_normalize", "top_k_softmax", "sparsemax", "entmax15"):
        x = mg.Tensor(SCORES, requires_grad=True)
        y = mg.OPS[name](x, **({"k": 2} if name == "top_k_softmax" else {}))
        y[0].backward()
        assert x.grad is not None
        results[f"gradient {name}"] = x.grad.tolist()
        label = name + (", k = 2" if name == "top_k_softmax" else "")
        print(f"   {label:<20} weights {show(y.data)}   gradient {show(x.grad, 3)}")
    print("   Where all are exactly zero, nothing that made those scores would learn from it.")

    draw(args.out / "softmax_tour.png")
    return story.finish(args, results, in_words(results))


def in_words(results: dict[str, Any]) -> list[str]:
    """What was seen, from the numbers."""
    zero = [name.removeprefix("gradient ") for name, g in results.items() if name.startswith("gradient") and not any(g)]
    return [
        f"Softmax of {show(SCORES, 0)} is {show(results['softmax'])}, simple normalization {show(results['simple'])}. "
        f"At these scores the gradient is exactly zero in {', '.join(zero) or 'none of them'}."
    ]


def draw(path: Any) -> None:
    plt = story.pyplot()
    if plt is None:
        return
    figure, (bars, curves) = plt.subplots(1, 2, figsize=(10, 3.8), width_ratios=[1.25, 1])
    scores = np.array(list(VOTES.values()))
    colours = ["#b8d4ee", "#7fb2dd", "#1f6fb4", "#174f80", "#0d2f4d"]
    for i, tau in enumerate(reversed(TEMPERATURES)):
        at = np.arange(len(scores)) + (i - 2) * 0.16
        bars.bar(at, mg.softmax(scores / tau).data, 0.15, color=colours[i], label=f"τ = {tau:g}")
    bars.set(title="Temperature, from flat to sharp", ylabel="weight", ylim=(0, 1.02))
    bars.set_xticks(range(len(scores)), [f"{name}\nscore {score:g}" for name, score in VOTES.items()])
    bars.legend()
    bars.grid(axis="x", visible=False)
    taus = np.logspace(-2, 2, 200)
    weights = mg.softmax(scores / taus[:, None]).data
    for i, colour in enumerate(["#c0392b", "#8793a0", "#1f6fb4", "#3b4652"]):
        curves.plot(taus, weights[:, i], color=colour, label=list(VOTES)[i])
    curves.set(title="The same four scores at every τ", xscale="log", xlabel="temperature τ", ylim=(0, 1.02))
    curves.legend()
    story.save_picture(figure, path)
    plt.close(figure)


if __name__ == "__main__":
    main()
