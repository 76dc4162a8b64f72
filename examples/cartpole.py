"""CartPole: a softmax policy learns to balance a pole by REINFORCE; an argmax policy gets no gradient at all.

A cart is pushed left or right, 50 times a second, to keep a pole on it upright. A game ends when the pole leans by more
than 12 degrees or the cart is 2.4 off the middle, or after 500 pushes. Its return is their number.
This one, before any training, has a return of 10:

      cart   speed   pole   speed    weights (left, right)   push drawn   pushes to come   mean of all 32 games
      0.04   -0.04   0.01   -0.01         0.50  0.50            right           10                 16.6
      0.04    0.16   0.01   -0.30         0.46  0.54            right            9                 15.6
      ...
      0.17    1.72  -0.21   -2.77         0.34  0.66            left             1                  7.6

A network of 32 hidden units gives two scores, a map makes weights of them, and the push is drawn from these. REINFORCE
(Williams 1992) plays 32 games, then makes each push drawn likelier the more pushes were to come, and less likely the
fewer, than in the mean of all games still on at that time: the baseline. Nothing is discounted. The policy at the end,
not one chosen on the way, plays 100 fresh games.

Controls: no baseline; argmax in the very same loss, which has ln 1 = 0 for each push, and is flat; argmax trained
straight-through, which gets a gradient but never tries the other push; the same weight for both pushes; and greedy play
untrained, as some random network may balance by luck.

Gymnasium's CartPole-v1 (Barto, Sutton, Anderson 1983). Takes about 1 minute on two cores; --quick less than 20 seconds.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import minigrad as mg
import story
from minigrad import nn, optim


@dataclass(frozen=True)
class Row:
    weights: str = "softmax"  # a map of minigrad's, from scores to weights
    baseline: bool = True
    updates: int = 80
    games: int = 32  # for each update
    lr: float = 0.02  # falls to 0 in a straight line


ROWS = {
    "softmax": Row(), "softmax, no baseline": Row(baseline=False), "argmax": Row("hardmax"),
    "argmax, straight-through": Row("straight_through"), "uniform": Row("uniform"),
}  # fmt: skip
COLORS = ("#1f6fb4", "#8f63b8", "#c0392b", "#2e9d8f", "#6b7683")
SOLVED = 475  # what Gymnasium asks of a mean return


def play(
    policy: Any, weights: str, games: int, rng: np.random.Generator, greedy: bool = False
) -> tuple[np.ndarray, ...]:
    """Play games side by side until the last one ends: states (T, games, 4), pushes and `on` (T, games)."""
    import gymnasium

    env = gymnasium.make_vec("CartPole-v1", num_envs=games, vectorization_mode="vector_entry_point")
    state, _ = env.reset(seed=int(rng.integers(2**31)))
    on, seen = np.ones(games, dtype=bool), []
    while on.any():
        with mg.no_grad():
            left, right = getattr(mg, weights)(policy(mg.Tensor(state))).numpy().T
        push = (right > left if greedy else rng.random(games) >= left).astype(np.int64)
        seen.append((state, push, on))
        state, _, fallen, too_long, _ = env.step(push)
        on = on & ~(fallen | too_long)  # a game that has ended begins anew by itself: what follows does not count
    return tuple(np.array(a) for a in zip(*seen, strict=True))


def still_to_get(on: np.ndarray) -> np.ndarray:
    """The return from each push on, (T, games): a game gets 1 for every push while it is on."""
    return np.cumsum(on[::-1], axis=0)[::-1].astype(np.float32)


def mean_of_those_on(returns: np.ndarray, on: np.ndarray) -> np.ndarray:
    """The baseline: at each time the mean over the games still on, (T, games). Each game has a small part in its own,
    so the gradient's average is a little too short; the last game left learns nothing.
    """
    mean = (returns * on).sum(1, keepdims=True) / on.sum(1, keepdims=True)
    return np.broadcast_to(mean, returns.shape)


def train(row: Row, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, 0])
    policy = nn.Sequential(nn.Linear(4, 32, rng=rng), mg.tanh, nn.Linear(32, 2, rng=rng))

    def mean_return(greedy: bool) -> float:
        """Of 100 games that training never saw; before and after it the same ones."""
        return float(play(policy, row.weights, 100, np.random.default_rng([seed, 2]), greedy)[2].sum(0).mean())

    data, before, untrained = np.random.default_rng([seed, 1]), policy.state_dict(), mean_return(greedy=True)
    optimizer, curve, largest = optim.Adam(policy.parameters(), lr=row.lr), [], 0.0
    for update in range(row.updates):
        states, pushes, on = play(policy, row.weights, row.games, data)
        returns = still_to_get(on)
        baseline = mean_of_those_on(returns, on) if row.baseline else np.zeros_like(returns)
        weights = getattr(mg, row.weights)(policy(mg.Tensor(states[on])))  # (all pushes, 2)
        log_prob = mg.log(weights[np.arange(on.sum()), pushes[on]])  # what was drawn has weight > 0
        loss = mg.reinforce(log_prob, returns[on], baseline[on])
        optimizer.zero_grad()
        loss.backward()
        optimizer.lr = row.lr * (1 - update / row.updates)
        optimizer.step()
        curve.append(float(on.sum(0).mean()))
        largest = max(largest, *(float(np.abs(p.grad).max()) for p in policy.parameters()))
    after = policy.state_dict()
    return {
        "sampled": mean_return(greedy=False), "greedy": mean_return(greedy=True), "untrained": untrained,
        "gradient": largest, "drift": max(float(np.abs(after[name] - before[name]).max()) for name in after),
        "curve": [round(value, 2) for value in curve],
    }  # fmt: skip


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = story.flags(__doc__, steps="updates")
    args = story.parse(parser, argv)
    if importlib.util.find_spec("gymnasium") is None:
        parser.error("the cart and its pole are Gymnasium's: pip install gymnasium, or 'minigrad[examples]'")
    updates = args.steps or (50 if args.quick else Row.updates)
    rows = {name: replace(row, updates=updates) for name, row in ROWS.items()}
    results = {"updates": updates, "games": Row.games, "rows": story.compare(train, rows, args, "cartpole")}
    columns = {
        "sampled": ("drawn", "{:.1f}"), "greedy": ("greedy", "{:.1f}"), "untrained": ("greedy, untrained", "{:.1f}"),
        "gradient": ("largest gradient", "{:.2g}"), "drift": ("drift of parameters", "{:.2g}"),
    }  # fmt: skip
    story.table(
        f"Mean return of 100 fresh games, 500 at most: median (range) of {args.seeds} seeds, {updates} updates",
        ["weights", *(head for head, _ in columns.values())],
        [
            [name, *(story.spread_of(runs, key, form) for key, (_, form) in columns.items())]
            for name, runs in results["rows"].items()
        ],
    )
    draw(results, args.out / "cartpole.png")
    return story.finish(args, results, in_words(results))


def in_words(results: dict[str, Any]) -> list[str]:
    """What was seen, from the numbers."""
    rows = results["rows"]
    median = {name: story.median(runs, "sampled") for name, runs in rows.items()}
    solved = {name: sum(run["sampled"] >= SOLVED for run in runs) for name, runs in rows.items()}
    soft, hard, through = rows["softmax"], rows["argmax"], rows["argmax, straight-through"]
    gradient, drift = (max(run[key] for run in hard) for key in ("gradient", "drift"))
    same = all(run["greedy"] == run["untrained"] for run in hard)
    lucky = sum(run["untrained"] >= SOLVED for run in hard)
    times = {}
    for name in ("softmax", "softmax, no baseline"):
        first = [next((i + 1 for i, r in enumerate(run["curve"]) if r >= SOLVED), None) for run in rows[name]]
        reached = [i for i in first if i is not None]
        times[name] = f"after {story.spread(reached, '{:.0f}')} updates" if len(reached) == len(first) else (
            f"in {len(reached)} of {len(first)} seeds")  # fmt: skip
    learned = (
        "A softmax policy learns to balance the pole"
        if median["softmax"] >= SOLVED
        else f"THE SOFTMAX POLICY STAYS BELOW {SOLVED}"
    )
    still = (
        "Argmax's largest gradient in all its training is exactly 0, its parameters are bit for bit what they were"
        if gradient == drift == 0
        else f"ARGMAX'S POLICY MOVED by {drift:.2g}, its largest gradient is {gradient:.2g}"
    )
    return [
        f"{learned}: mean return {median['softmax']:.1f} of 500 over 100 fresh games ({solved['softmax']} of "
        f"{len(soft)} seeds reach {SOLVED}). Argmax in the same loss: {story.spread_of(hard, 'sampled')}; uniform: "
        f"{median['uniform']:.1f}.",
        f"{still}{'; it plays as untrained, taken greedily' if same else '; YET IT PLAYS OTHERWISE THAN UNTRAINED'}: "
        f"{story.spread_of(hard, 'untrained')}."
        + (f" By luck, {lucky} of {len(hard)} starts balance." if lucky else ""),
        f"Without a baseline: {median['softmax, no baseline']:.1f} ({solved['softmax, no baseline']} of {len(soft)} "
        f"reach {SOLVED}). The training games first get there {times['softmax']} with it, "
        f"{times['softmax, no baseline']} without.",
        f"Straight-through, argmax has gradients (to {story.median(through, 'gradient'):.2g}) and its policy moves in "
        f"{sum(run['drift'] > 0 for run in through)} of {len(soft)} seeds; trying only what it prefers, it comes to "
        f"{story.spread_of(through, 'sampled')} ({solved['argmax, straight-through']} of {len(soft)} reach {SOLVED}).",
    ]


def draw(results: dict[str, Any], path: Any) -> None:
    plt = story.pyplot()
    if plt is None:
        return
    figure, (learning, fresh) = plt.subplots(1, 2, figsize=(12, 4.5), width_ratios=[1.3, 1])
    updates = np.arange(1, results["updates"] + 1)
    for y, (runs, color) in enumerate(zip(results["rows"].values(), COLORS, strict=True)):
        curves = np.array([run["curve"] for run in runs])  # a line for each seed: one that starts at 500 fills a band
        learning.plot(updates, curves.T, color=color, linewidth=0.7, alpha=0.45)
        learning.plot(updates, np.median(curves, 0), color=color, linewidth=2.2)
        for key, filled, low in (("sampled", color, 0.0), ("greedy", "white", 0.22)):
            returns = [run[key] for run in runs]
            fresh.plot(returns, [y + low] * len(runs), "o", color=color, markerfacecolor=filled, alpha=0.7)
            fresh.text(530, y + low, f"{np.median(returns):.1f}", color=color, va="center")
    for line in (learning.axhline, fresh.axvline):
        line(SOLVED, color="#3b4652", linestyle="--", linewidth=1)
    learning.text(updates[-1], SOLVED - 6, f"{SOLVED}: counts as solved", color="#3b4652", va="top", ha="right")
    learning.set(
        title=f"While learning: mean return of {results['games']} games", ylabel="mean return",
        xlabel="update (thin: each seed, thick: median)",
        ylim=(0, 520),
    )  # fmt: skip
    fresh.set(title="Then: 100 fresh games", xlabel="mean return of each seed (full: drawn, hollow: greedy)")
    fresh.set(xlim=(-10, 620), xticks=range(0, 501, 100), ylim=(len(COLORS) - 0.5, -0.6))
    fresh.set_yticks(np.arange(len(COLORS)) + 0.1, list(results["rows"]))
    for label, color in zip(fresh.get_yticklabels(), COLORS, strict=True):
        label.set_color(color)
    fresh.text(530, -0.35, "median", color="#3b4652", va="center")
    story.save_picture(figure, path)
    plt.close(figure)


if __name__ == "__main__":
    main()
