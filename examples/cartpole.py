"""CartPole: a softmax policy learns to balance a pole by REINFORCE; an argmax policy gets no gradient at all.

A cart is pushed left or right, 50 times a second, to keep the pole on it upright. A game ends when the pole leans by
more than 12 degrees, when the cart is 2.4 off the middle, or after 500 pushes. Its return is the number of pushes. This
game, played before any training, has a return of 10:

      cart   speed   pole   speed    weights (left, right)   push drawn   pushes to come   mean of all 32 games
      0.04   -0.04   0.01   -0.01         0.50  0.50            right           10                 16.6
      0.04    0.16   0.01   -0.30         0.46  0.54            right            9                 15.6
      ...
      0.17    1.72  -0.21   -2.77         0.34  0.66            left             1                  7.6

A network of 32 hidden units gives two scores, softmax turns them into weights, and the push is drawn from these.
REINFORCE (Williams 1992) plays 32 games. Then it makes a push likelier if more pushes were to come than in the mean of
all games still on at that time, the baseline, and less likely if fewer were. You will see the returns while it learns,
and those of 100 fresh games at the end.

Controls: no baseline; argmax in the same loss, which is ln 1 = 0 for each push and has no slope; argmax trained
straight-through, which gets a gradient but never tries the other push; the same weight for both pushes; and greedy play
untrained, because some random networks balance by luck.

Gymnasium's CartPole-v1 (Barto, Sutton, Anderson 1983). Takes about 1 minute on two cores; --quick less than 20 seconds.
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

SOLVED = 475  # the mean return that Gymnasium asks for


@dataclass(frozen=True)
class Settings:
    normalizer: Any = mg.softmax  # from scores to weights
    baseline: bool = True
    updates: int = 80
    games: int = 32  # for each update
    lr: float = 0.02  # falls to 0 in a straight line


ROWS = {
    "softmax": Settings(),
    "softmax, no baseline": Settings(baseline=False),
    "argmax": Settings(normalizer=mg.hardmax),
    "argmax, straight-through": Settings(normalizer=mg.straight_through),
    "uniform": Settings(normalizer=mg.uniform),
}
COLORS = dict(zip(ROWS, ["C0", "C4", "C1", "C3", "C6"], strict=True))


def play(
    policy: Any, normalizer: Any, games: int, rng: np.random.Generator, greedy: bool = False
) -> tuple[np.ndarray, ...]:
    """Play games side by side until the last one ends: states (T, games, 4), pushes and `on`, both (T, games)."""
    import gymnasium

    env = gymnasium.make_vec("CartPole-v1", num_envs=games, vectorization_mode="vector_entry_point")
    state, _ = env.reset(seed=int(rng.integers(2**31)))
    on, seen = np.ones(games, dtype=bool), []
    while on.any():
        with mg.no_grad():
            left, right = normalizer(policy(mg.Tensor(state))).numpy().T
        push = (right > left if greedy else rng.random(games) >= left).astype(np.int64)
        seen.append((state, push, on))
        state, _, fallen, too_long, _ = env.step(push)
        on = on & ~(fallen | too_long)  # a game that has ended begins anew by itself: what follows does not count
    return tuple(np.array(a) for a in zip(*seen, strict=True))


def returns_to_come(on: np.ndarray) -> np.ndarray:
    """The return from each push on, (T, games): a game gets 1 for every push while it is on."""
    return np.cumsum(on[::-1], axis=0)[::-1].astype(np.float32)


def mean_of_those_on(returns: np.ndarray, on: np.ndarray) -> np.ndarray:
    """The baseline: at each time the mean over the games still on, (T, games).

    Each game is part of its own mean, so the gradient is a little too short, and the last game on learns nothing.
    """
    mean = (returns * on).sum(1, keepdims=True) / on.sum(1, keepdims=True)
    return np.broadcast_to(mean, returns.shape)


def train(s: Settings, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, 0])
    policy = nn.Sequential(nn.Linear(4, 32, rng=rng), mg.tanh, nn.Linear(32, 2, rng=rng))

    def mean_return(greedy: bool) -> float:
        """The mean over 100 games that training never sees, the same ones before and after it."""
        return float(play(policy, s.normalizer, 100, np.random.default_rng([seed, 2]), greedy)[2].sum(0).mean())

    data, before, untrained = np.random.default_rng([seed, 1]), policy.state_dict(), mean_return(greedy=True)
    optimizer, curve, largest = optim.Adam(policy.parameters(), lr=s.lr), [], 0.0
    for update in range(s.updates):
        states, pushes, on = play(policy, s.normalizer, s.games, data)
        returns = returns_to_come(on)
        baseline = mean_of_those_on(returns, on) if s.baseline else np.zeros_like(returns)
        weights = s.normalizer(policy(mg.Tensor(states[on])))  # (number of pushes in all games, 2)
        log_prob = mg.log(weights[np.arange(on.sum()), pushes[on]])
        loss = mg.reinforce(log_prob, returns[on], baseline[on])
        optimizer.zero_grad()
        loss.backward()
        optimizer.lr = s.lr * (1 - update / s.updates)
        optimizer.step()
        curve.append(round(float(on.sum(0).mean()), 2))
        largest = max(largest, *(float(np.abs(p.grad).max()) for p in policy.parameters()))
    after = policy.state_dict()
    return {
        "sampled": mean_return(greedy=False),
        "greedy": mean_return(greedy=True),
        "untrained": untrained,
        "gradient": largest,
        "drift": max(float(np.abs(after[name] - before[name]).max()) for name in after),
        "curve": curve,
    }


# --- what was seen ---------------------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = story.flags(__doc__, steps="updates")
    args = story.parse(parser, argv)
    if importlib.util.find_spec("gymnasium") is None:
        parser.error("the cart and its pole are Gymnasium's: pip install gymnasium, or 'minigrad[examples]'")
    updates = args.steps or (50 if args.quick else Settings.updates)
    rows = {name: replace(s, updates=updates) for name, s in ROWS.items()}
    results = {"updates": updates, "games": Settings.games, "rows": story.compare(train, rows, args, "cartpole")}
    return story.finish("cartpole", args, results, in_words, report, draw)


def report(results: dict[str, Any]) -> None:
    seeds, updates = len(results["rows"]["softmax"]), results["updates"]
    title = f"Mean return of 100 fresh games, 500 at most: median (range) of {seeds} seeds, {updates} updates"
    head = ["weights", "drawn", "greedy", "greedy, untrained", "largest gradient", "drift of parameters"]
    lines = []
    for name, runs in results["rows"].items():
        returns = [story.spread_of(runs, key) for key in ("sampled", "greedy", "untrained")]
        lines.append([name, *returns, *(story.spread_of(runs, key, "{:.2g}") for key in ("gradient", "drift"))])
    story.table(title, head, lines)


def in_words(results: dict[str, Any]) -> list[str]:
    soft, hard = results["rows"]["softmax"], results["rows"]["argmax"]
    solved = sum(run["sampled"] >= SOLVED for run in soft)
    return [
        f"Softmax solves CartPole in {solved} of {len(soft)} seeds; argmax's largest gradient is "
        f"{max(run['gradient'] for run in hard):.2g}.",
        f"Mean return of 100 fresh games, 500 at most: softmax {story.spread_of(soft, 'sampled')}, argmax "
        f"{story.spread_of(hard, 'sampled')}. Solved means at least {SOLVED}.",
    ]


@pictures.picture(1, 2, size=(12, 4.5), dark=True, width_ratios=[1.2, 1])
def draw(results: dict[str, Any], learning: Any, fresh: Any) -> None:
    ends = {}
    for y, (name, runs) in enumerate(results["rows"].items()):
        curves, color = np.array([run["curve"] for run in runs]), COLORS[name]
        learning.plot(curves.T, color=color, linewidth=0.7, alpha=0.45)  # no band: one seed that starts at 500
        middle = np.median(curves, 0)
        learning.plot(middle, color=color, linewidth=2.2)
        ends[name] = (float(middle[-1]), color)
        fresh.plot([run["sampled"] for run in runs], [y] * len(runs), "o", color=color, alpha=0.7)
    learning.set(title="Softmax's policy learns, argmax's does not", ylim=(0, 520), xlim=(0, len(middle) - 1))
    learning.set(ylabel=f"mean return of {results['games']} games", xlabel="update (thin: each seed, thick: median)")
    pictures.labels(learning, ends)
    pictures.level(learning, SOLVED, "--")
    fresh.axvline(SOLVED, color=learning.xaxis.label.get_color(), linestyle="--", linewidth=1)
    fresh.set(title="Argmax ends where it began", xlim=(-15, 515), ylim=(len(ends) - 0.5, -0.5))
    fresh.set(xlabel=f"mean return of 100 fresh games: each seed (dashed: {SOLVED}, solved)")
    fresh.set_yticks(range(len(ends)), list(ends))
    for text, (_, color) in zip(fresh.get_yticklabels(), ends.values(), strict=True):
        text.set_color(color)


if __name__ == "__main__":
    story.tell(main)
