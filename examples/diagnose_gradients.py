"""Four classic accidents: hard attention, saturated softmax, a severed graph, nan; what `explain_grad` says of each.

In each of them a small attention layer does not learn, yet no error is raised. You will see what explain_grad says of
the broken layer, the repair, and what it says of the repaired one. Takes about a second.
"""

from __future__ import annotations

import story  # isort: skip (first: it hears Ctrl-C while the others load)

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.debug.diagnose import Explanation, explain_grad, first_bad_value

rng = np.random.default_rng(0)
X = mg.Tensor(rng.normal(size=(6, 16)).astype(np.float32), name="x")
W_Q, W_K, W_V = (
    mg.Tensor(rng.normal(0, 0.3, (16, 16)).astype(np.float32), requires_grad=True, name=name)
    for name in ("W_q", "W_k", "W_v")
)
ALLOWED = mg.causal_mask(6) & (np.arange(6) != 0)  # position 0 is padding: the first query may attend to nothing


def loss(weights: Callable[[mg.Tensor], mg.Tensor], scale: float = 1 / math.sqrt(16)) -> mg.Tensor:
    """Attention with the given function from scores to weights, and the mean square as a stand-in for a loss."""
    scores = (X @ W_Q) @ (X @ W_K).mT * scale
    return ((weights(scores) @ (X @ W_V)) ** 2).mean()


def softmax_by_hand(scores: mg.Tensor) -> mg.Tensor:
    e = mg.exp(scores + np.where(ALLOWED, 0, -np.inf))
    return e / e.sum(axis=-1, keepdims=True)  # the first row is 0/0


def severed(scores: mg.Tensor) -> mg.Tensor:
    weights = mg.softmax(scores)
    for_a_picture = weights.detach()
    return for_a_picture


ACCIDENTS: list[tuple[str, Callable[[], mg.Tensor], str, Callable[[], mg.Tensor]]] = [
    ("Hard attention: argmax", lambda: loss(mg.hardmax), "softmax instead", lambda: loss(mg.softmax)),
    (
        "Saturated softmax: scores far too large",
        lambda: loss(mg.softmax, scale=9),
        "scale the scores by 1/√d",
        lambda: loss(mg.softmax),
    ),
    ("A severed graph: a detached tensor is used", lambda: loss(severed), "no detach", lambda: loss(mg.softmax)),
    (
        "nan through a mask: one query may attend to nothing",
        lambda: loss(softmax_by_hand),
        "mg.softmax(scores, mask=...)",
        lambda: loss(lambda scores: mg.softmax(scores, mask=ALLOWED)),
    ),
]


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = story.parse(story.flags(__doc__, seeds=0), argv)
    results: dict[str, Any] = {}
    for accident, broken, _, repaired in ACCIDENTS:
        before, after = explain_grad(broken, W_Q), explain_grad(repaired, W_Q)
        results[accident] = {"before": _told(before), "after": _told(after)}
    try:
        with first_bad_value():
            loss(softmax_by_hand)
    except FloatingPointError as error:
        results["first_bad_value"] = str(error)
    return story.finish("diagnose_gradients", args, results, in_words, report)


def report(results: dict[str, Any]) -> None:
    for i, (accident, _, repair, _) in enumerate(ACCIDENTS, 1):
        before, after = (results[accident][when]["text"].replace("\n", "\n   ") for when in ("before", "after"))
        story.say(f"\n{i}. {accident}\n   {before}\n   Repaired ({repair}):\n   {after}")
    story.say("\nThe last one again, inside first_bad_value(), which stops the program at the first nan:")
    story.say(f"   FloatingPointError: {results['first_bad_value']}")


def in_words(results: dict[str, Any]) -> list[str]:
    told = {accident.split(":")[0]: results[accident] for accident, *_ in ACCIDENTS}
    before, after = ([each[when]["verdict"] for each in told.values()] for when in ("before", "after"))
    found, healthy = len(told) - before.count("healthy"), after.count("healthy")
    return [
        f"explain_grad finds {found} of {len(told)} accidents; after the repairs {healthy} are healthy.",
        f"It says: {'; '.join(f'{name}: {verdict}' for name, verdict in zip(told, before, strict=True))}.",
    ]


def _told(explanation: Explanation) -> dict[str, str]:
    return {"verdict": explanation.verdict, "text": explanation.text}


if __name__ == "__main__":
    story.tell(main)
