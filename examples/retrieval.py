"""The task of soft_vs_hard.py and of the examples beside it: find the key, answer with its value.

N (key, value) pairs and a query key; the answer is the value stored under that key:

    keys   c  a  f  d        query  f        answer  7
    values 2  5  7  2

Keys are drawn without repetition from 2N, values from 8, fresh for every batch. To solve it, the query and key tables
must come to agree. There is no residual path, no weight decay and no layer norm: each would blur whether the tables
moved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg
import story
from minigrad import nn, optim

N_VALUES, QUESTIONS = 8, 4000


@dataclass(frozen=True)
class Retrieve:
    """One way to train it, and one row of a table."""

    weights: str | Callable[..., mg.Tensor] = "softmax"  # a normalizer, or how a hard choice is trained: see `forward`
    scores: str = "q·k"  # how a query and a key are compared: see `compare`
    scale: float = 1.0  # standard deviation of the tables at the start
    tau: tuple[float, float] = (1.0, 1.0)  # scores are divided by τ, which goes from the first to the second
    frozen: bool = False  # query and key tables are not trained
    draws: int = 1  # choices that REINFORCE draws for each question
    n: int = 8  # among how many
    task: str = "one"  # one key holds the answer; or "three" do, see `votes`; or "perhaps none", see `perhaps`
    steps: int = 1500
    share_steps: bool = False  # takes only 1/n of these steps
    batch: int = 64
    d: int = 16
    lr: float = 0.02


class Retrieval(nn.Module):
    """query, key and value tables; scores from queries and keys; weights from the scores; an output layer."""

    def __init__(self, row: Retrieve, rng: np.random.Generator) -> None:
        n = row.n
        self.row, self.rng, self.tau, self.baseline = row, rng, row.tau[0], 0.0
        self.query, self.key = nn.Embedding(2 * n, row.d, rng=rng), nn.Embedding(2 * n, row.d, rng=rng)
        self.value = nn.Embedding(N_VALUES, row.d, rng=rng)
        for table in (self.query, self.key, self.value):
            table.weight.data = row.scale * table.weight.data
        self.out = nn.Linear(row.d, N_VALUES + (row.task == "perhaps none"), rng=rng)
        if row.frozen:
            self.query.weight.requires_grad = self.key.weight.requires_grad = False
        if row.scores == "QK-norm":
            self.norm_q, self.norm_k = nn.LayerNorm(row.d), nn.LayerNorm(row.d)
        elif row.scores == "learned τ":
            self.log_tau = nn.Parameter(np.zeros((), np.float32))
        elif row.scores == "learned bias":
            self.bias = nn.Parameter(np.float32(-math.log(n)))
        elif row.scores == "additive":
            self.sum_up = nn.Linear(row.d, 1, bias=False, rng=rng)

    def compare(self, query: Any, keys: Any) -> mg.Tensor:
        """The scores (B, N) of the keys (B, N) for the queries (B,)."""
        q, k, how = self.query(query), self.key(keys), self.row.scores  # (B, d), (B, N, d)
        if how == "additive":  # Bahdanau et al. 2015
            return self.sum_up(mg.tanh(q[:, None] + k))[:, :, 0]
        if how == "QK-norm":  # Dehghani et al. 2023
            q, k = self.norm_q(q), self.norm_k(k)
        if how == "φ(q)·φ(k)":  # linear attention, Katharopoulos et al. 2020: φ(x) = 1 + elu(x) > 0
            q, k = (mg.relu(x) + mg.exp(-mg.relu(-x)) for x in (q, k))
            return (k @ q[:, :, None])[:, :, 0]
        scores = (k @ q[:, :, None])[:, :, 0] / math.sqrt(self.row.d)
        if how == "softcap":
            return 5 * mg.tanh(scores / 5)
        if how == "learned τ":
            return scores * mg.exp(-self.log_tau)
        if how == "learned bias":  # Ramapuram et al. 2024
            return scores + self.bias
        return scores if self.tau == 1 else scores / self.tau

    def forward(self, query: Any, keys: Any, values: Any, answer: Any) -> tuple[mg.Tensor, np.ndarray]:
        """The loss and, for each question of the batch, whether the answer was right."""
        scores, v, how = self.compare(query, keys), self.value(values), self.row.weights  # (B, N), (B, N, d)
        if how in ("exact", "marginal"):
            return self.try_every_choice(scores, v, answer)
        if isinstance(how, str) and how.startswith("reinforce"):
            return self.draw_choices(scores, v, answer)
        logits = self.out((self.to_weights(scores)[:, None, :] @ v)[:, 0])  # (B, N_VALUES)
        return mg.cross_entropy(logits, answer), logits.numpy().argmax(-1) == answer

    def to_weights(self, scores: mg.Tensor) -> mg.Tensor:
        how = self.row.weights
        if how == "gumbel":
            return mg.gumbel_softmax(scores, rng=self.rng)
        weights: mg.Tensor = (getattr(mg, how) if isinstance(how, str) else how)(scores)
        return weights

    def try_every_choice(self, scores: mg.Tensor, v: mg.Tensor, answer: Any) -> tuple[mg.Tensor, np.ndarray]:
        """Each choice's loss, weighted by its probability: nothing is drawn, and the output layer works N times.

        Or, "marginal", the loss of the mixture of all answers, −ln Σ w p: less than that, by Jensen's inequality.
        """
        weights, logits = mg.softmax(scores), self.out(v)  # (B, N), (B, N, N_VALUES)
        losses = mg.cross_entropy(logits, np.repeat(answer[:, None], v.shape[1], 1), reduction="none")
        mixture = (weights[:, :, None] * mg.softmax(logits)).sum(axis=1)
        loss = (weights * losses).sum(axis=-1)
        if self.row.weights == "marginal":
            loss = -mg.log(mixture[np.arange(len(answer)), answer])
        return loss.mean(), mixture.numpy().argmax(-1) == answer

    def draw_choices(self, scores: mg.Tensor, v: mg.Tensor, answer: Any) -> tuple[mg.Tensor, np.ndarray]:
        """REINFORCE: draw choices, reward each by minus its loss. Without a baseline, "reinforce without baseline"."""
        log_p = mg.log_softmax(scores)
        noise = self.rng.gumbel(size=(self.row.draws, *scores.shape))
        choice, rows = (log_p.numpy() + noise).argmax(-1), np.arange(len(answer))  # Gumbel-max: draws from p, (K, B)
        logits = self.out(v[rows, choice])  # (K, B, N_VALUES)
        losses = mg.cross_entropy(logits, np.broadcast_to(answer, choice.shape), reduction="none")
        reward, baseline = -losses.detach().numpy(), self.baseline
        if self.row.draws > 1:  # leave-one-out: each draw's baseline is the mean reward of the others
            baseline = (reward.sum(0) - reward) / (self.row.draws - 1)
        elif self.row.weights == "reinforce":
            self.baseline = 0.9 * self.baseline + 0.1 * float(reward.mean())
        loss = losses.mean() + mg.reinforce(log_p[rows, choice], reward, baseline)
        return loss, (logits.numpy().argmax(-1) == answer).mean(0)

    @mg.no_grad()
    def read_hard(self, rng: np.random.Generator) -> float:
        """Accuracy, in percent, of reading only the value with the largest score, whatever was trained with."""
        query, keys, values, answer = draw_questions(self.row, QUESTIONS, rng)
        best = self.compare(query, keys).numpy().argmax(-1)
        logits = self.out(self.value(values[np.arange(QUESTIONS), best]))
        return 100 * float(np.mean(logits.numpy().argmax(-1) == answer))


def questions(n: int, batch: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    keys = rng.permuted(np.tile(np.arange(2 * n), (batch, 1)), axis=1)[:, :n]
    values = rng.integers(0, N_VALUES, (batch, n))
    rows, where = np.arange(batch), rng.integers(0, n, batch)
    return keys[rows, where], keys, values, values[rows, where]


def votes(n: int, batch: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """The query key stands at three places, and at least two of its three values agree: answer with that value."""
    _, keys, values, _ = questions(n, batch, rng)
    rows, where = np.arange(batch)[:, None], rng.permuted(np.tile(np.arange(n), (batch, 1)), axis=1)[:, :3]
    first, second = where[:, :1], where[:, 1:2]
    keys[rows, where], values[rows, second] = keys[rows, first], values[rows, first]
    return keys[rows, first][:, 0], keys, values, values[rows, first][:, 0]


def perhaps(n: int, batch: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """In half of the questions the query key is at no place, and the answer is one more class, "none"."""
    query, keys, values, answer = questions(n, batch, rng)
    absent = rng.permuted(np.tile(np.arange(2 * n), (batch, 1)), axis=1)
    others = absent[absent != query[:, None]].reshape(batch, -1)[:, :n]
    here = rng.random(batch) < 0.5
    return query, np.where(here[:, None], keys, others), values, np.where(here, answer, N_VALUES)


TASKS = {"one": questions, "three": votes, "perhaps none": perhaps}


def draw_questions(row: Retrieve, batch: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    return TASKS[row.task](row.n, batch, rng)


def train_retrieval(row: Retrieve, seed: int) -> dict[str, Any]:
    """Train one row. Every batch is new, so accuracy in training is accuracy on unseen questions."""
    steps = row.steps // row.n if row.share_steps else row.steps
    model = Retrieval(row, np.random.default_rng([seed, 0]))
    data = np.random.default_rng([seed, 1])
    before = model.state_dict()
    optimizer = optim.Adam(model.parameters(), lr=row.lr)
    right = np.empty(steps)
    for step in range(steps):
        model.tau = row.tau[0] * (row.tau[1] / row.tau[0]) ** (step / steps)
        loss, correct = model(*draw_questions(row, row.batch, data))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right[step] = correct.mean()
    window = min(50, steps)
    trailing = np.convolve(right, np.full(window, 1 / window), mode="valid")
    passed = np.flatnonzero(trailing >= 0.9)
    return {
        "accuracy": 100 * float(right[-max(1, min(200, steps // 4)) :].mean()),
        "read_hard": model.read_hard(np.random.default_rng([seed, 2])),
        "step_90": int(passed[0]) + window if len(passed) else None,
        "drift": story.drift(before, model.state_dict(), ("query", "key")),
        "curve": [round(100 * float(a), 2) for a in trailing[::10]],
    }


def random_route(n: int) -> float:
    """Expected accuracy, in percent, of reading one pair at random: right by luck where it holds the same value."""
    return 100 * (1 / n + (1 - 1 / n) / N_VALUES)
