"""The page article.md: what an explainer of softmax attention claims, beside what was measured here.

`python examples/record.py --article` writes it. Every figure in it is read from the records in results/, and the claims
are told in our words.
"""

# ruff: noqa: E501  (a sentence of the page may be longer than a line)

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results"
HOLDS, HALF, NOT_HERE, NOT_TRUE = "holds", "half true", "not testable here", "not true on our tasks"

INTRODUCTION = """# A starting article, claim by claim

This project began with an explainer of the softmax function in neural network attention, written for beginners. Here
are its claims, in our words, and beside each what was measured, by which program, and what we make of it. Every figure
is read from [`results/`](results) by `python examples/record.py --article`; most are medians over seeds.

Of {n} claims, {counts}."""


class Claim(NamedTuple):
    says: str
    measured: str
    where: str  # programs, without .py
    verdict: str


class Records:
    """The recorded figures: records["soft_vs_hard"]["retrieval"]["8"], read once."""

    def __init__(self, folder: Path = RESULTS) -> None:
        self.folder = folder
        self.read: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self.read:
            self.read[name] = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        return self.read[name]

    def get(self, name: str) -> Any:
        return self[name] if (self.folder / f"{name}.json").exists() else None


def of(runs: Sequence[Mapping[str, Any]], key: str = "accuracy", digits: int = 1) -> str:
    """The median of one figure over seeds, as text."""
    return f"{statistics.median(run[key] for run in runs):.{digits}f}"


def show(numbers: Sequence[float], digits: int = 2) -> str:
    return ", ".join(f"{x:.{digits}f}" for x in numbers)


def vectors(r: Records) -> list[Claim]:
    item = [run["vectors"] for run in r["recommend"]["rows"]["attention"]]
    before, after = ([run[when] for run in item] for when in ("before", "after"))
    untaught = [run["vectors"]["after"] for run in r["recommend"]["rows"]["no history"]]
    pretrained, tour = r.get("pretrained"), r["softmax_tour"]
    real = f" In a real model: {pretrained['in_words'][1].split('. ')[0].lower()}." if pretrained else ""
    return [
        Claim(
            "Words become vectors of numbers, as places become coordinates.",
            f"Every model here begins with such a table; the character GPT has "
            f"{r['char_gpt']['settings']['d_model']} numbers for each character.",
            "char_gpt", HOLDS,
        ),
        Claim(
            "Words of like meaning come to lie near each other.",
            f"Before training, {of(before, 'nearest', 0)} % of the recommender's items have their nearest neighbour in "
            f"their own genre, after it {of(after, 'nearest', 0)} %; the mean cosine within a genre goes from "
            f"{of(before, 'cosine, same genre', 2)} to {of(after, 'cosine, same genre', 2)}, across genres to "
            f"{of(after, 'cosine, other genres', 2)}. The task made it so: in a model that never compares items "
            f"it is {of(untaught, 'nearest', 0)} %.{real}",
            "recommend", HOLDS,
        ),
        Claim(
            "Scores come from comparing vectors, and relevant pairs score higher.",
            f"Through random projections, pairs of one genre score {of(before, 'score, same genre', 2)} on average, "
            f"through learned ones {of(after, 'score, same genre', 1)} (others {of(after, 'score, other genres', 1)}). "
            "What is compared are two learned projections, q and k, not the words themselves.",
            "recommend", HOLDS,
        ),
        Claim(
            "Raw scores are of any sign and size.",
            f"Among them are negative ones, and simple normalization makes of 2, −1, 0.5 the weights "
            f"{show(tour['negative'])}.",
            "softmax_tour", HOLDS,
        ),
    ]  # fmt: skip


def softmax(r: Records) -> list[Claim]:
    tour, amp = r["softmax_tour"], r["amplification"]
    has = amp["properties"]["softmax"]
    large, small = (amp["numbers"][c] for c in ("c = 1", "c = 0.1"))
    votes = tour["votes"]
    return [
        Claim(
            "Softmax's outputs lie between 0 and 1 and sum to 1.",
            f"So they do for {has['weights from any scores, %']:.0f} % of rows of random scores; simple normalization "
            f"manages {amp['properties']['simple normalization']['weights from any scores, %']:.1f} %.",
            "amplification", HOLDS,
        ),
        Claim(
            "It turns raw votes into shares in which the leader is clear and the second is still in the race.",
            f"A vote of 2.1 against 1.8 becomes {votes['A']:.2f} against {votes['C']:.2f}. Argmax gives 1 and 0.",
            "softmax_tour", HOLDS,
        ),
        Claim(
            "It amplifies differences, because of the exponential, and attention needs that.",
            f"It sharpens 4, 2, 1 (largest weight {large['softmax'][0]:.2f}; simple normalization "
            f"{large['simple normalization'][0]:.2f}) and flattens 0.4, 0.2, 0.1 ({small['softmax'][0]:.2f}; "
            f"{small['simple normalization'][0]:.2f}): softmax sees differences, simple normalization ratios. And "
            f"attention trains without an exponential: x² + 0.001, normalized, reaches "
            f"{of(amp['trained']['retrieval among 32']['x² + 0.001'])} % among 32 keys.",
            "amplification", HALF,
        ),
    ]  # fmt: skip


def why_attention(r: Records) -> list[Claim]:
    rows = r["translate"]["rows"]
    longest = r["translate"]["settings"]["n_clauses"] - 1

    def flawless(name: str, clauses: int) -> str:
        return f"{statistics.median(run['right'][clauses] for run in rows[name]):.1f}"

    aligned = statistics.median(statistics.mean(run["aligned"][: longest + 1]) for run in rows["attention"])
    window, spanish = r["long_attention"]["retrieval"], rows["attention"][0]["example"]["spanish"]
    return [
        Claim(
            "Models that squeeze an input into one summary lose more, the longer it gets.",
            f"Translated without a mistake from one vector: {flawless('one vector', 0)} % of sentences of one clause, "
            f"{flawless('one vector', longest)} % of {longest + 1} clauses; with attention {flawless('attention', 0)} "
            f"and {flawless('attention', longest)} %.",
            "translate", HOLDS,
        ),
        Claim(
            "By the end they have often forgotten the beginning.",
            f"With twice the training, too, one vector holds {flawless('one vector, twice the training', longest)} % of "
            f"sentences of {longest + 1} clauses. Whether it is their beginning that is lost was not measured.",
            "translate", NOT_HERE,
        ),
        Claim(
            "Attention is random access: any part can be looked at when it is needed.",
            f"Full attention finds a key at any distance in {of(window['none'], 'inside')} % of cases; a window of 64 "
            f"finds it inside the window in {of(window['64'], 'inside')} %, beyond it in "
            f"{of(window['64'], 'beyond')} %.",
            "long_attention", HOLDS,
        ),
        Claim(
            "In translating, it looks at *grandmother* for *abuela* and at *cookies* for *galletas*.",
            f"That sentence, kept out of training, becomes *{' '.join(spanish)}*; over the test sentences the largest "
            f"weight is on the right source word for {aligned:.1f} % of words.",
            "translate", HOLDS,
        ),
        Claim(
            "It made translation, vision and more much better.",
            f"Translation, yes (above). On digits of 8 × 8 pixels no: softmax attention reads "
            f"{of(r['digits']['rows']['softmax'])} % right, equal weights {of(r['digits']['rows']['same weight for all'])}"
            f" %, a network on all pixels {of(r['digits']['rows']['MLP on pixels'])} %. These tasks are toys.",
            "translate, digits", HALF,
        ),
    ]  # fmt: skip


def powers(r: Records) -> list[Claim]:
    amp, tau = r["amplification"], r["softmax_tour"]["temperature"]
    few = amp["trained"]["majority of three"]
    return [
        Claim(
            "Attention is three steps: scores by comparing, softmax, a weighted sum.",
            "`ops/attention.py` is those three lines, and their gradient, derived, is checked by finite differences.",
            "", HOLDS,
        ),
        Claim(
            "Slightly higher scores get much higher weights: focus where it is needed.",
            f"How much higher depends on the size of the scores: softmax is sharper than simple normalization from "
            f"c = {amp['numbers']['sharpens from']:.2f} on for scores c · (4, 2, 1), and flatter below. At τ = 1 a vote "
            f"of 2.1 gets {tau['1.0'][0]:.2f}, at τ = 10 {tau['10.0'][0]:.2f}.",
            "amplification, softmax_tour", HALF,
        ),
        Claim(
            "Low weights fade to the background and stay: a blend, not a yes or no.",
            f"A majority of three items: softmax answers {of(few['softmax'])} %, a hard choice "
            f"(straight-through) {of(few['straight-through'])} %.",
            "amplification", HOLDS,
        ),
        Claim("This is what makes attention soft.", "The word's definition.", "", HOLDS),
    ]  # fmt: skip


def rivals(r: Records) -> list[Claim]:
    tour, amp, hard = r["softmax_tour"], r["amplification"], r["soft_vs_hard"]
    trained, rows, ms = amp["trained"], hard["retrieval"]["32"], amp["milliseconds"]
    few, text = trained["majority of three"], hard["text"]
    drift = max(run["drift"] for run in rows["hardmax (argmax)"])
    return [
        Claim(
            "Simple normalization of 4, 2, 1 focuses less than softmax, and works less well.",
            f"{show(tour['simple'])} against {show(tour['softmax'])} (an article's 0.05 is a rounding that makes the row "
            f"sum to 1). Trained among 8 keys it reaches "
            f"{of(trained['retrieval among 8']['simple normalization'])} %; made positive, "
            f"{of(trained['retrieval among 8']['x² + 0.001'])} (x² + 0.001) and "
            f"{of(trained['retrieval among 8']['softplus(x)'])} (softplus). Negative scores and the pole where they sum "
            "to 0 break it, not less focus.",
            "amplification", HALF,
        ),
        Claim(
            "Hard attention, which chooses one, is fine computationally, but discrete choices break learning by gradients.",
            f"Argmax's query and key tables move by exactly {drift:g}; among 32 keys it reaches "
            f"{of(rows['hardmax (argmax)'])} %, softmax {of(rows['softmax'])}. The loss is a staircase: the gradient "
            f"exists almost everywhere, and is 0. But learning is not impossible: straight-through reaches "
            f"{of(rows['straight-through'])} %, and softmax trained soft and read hard {of(rows['softmax'], 'read_hard')}"
            f" %. On text: argmax {of(text['hardmax (argmax)'], 'bits', 2)} bits per character, straight-through "
            f"{of(text['straight-through'], 'bits', 2)}, softmax {of(text['softmax'], 'bits', 2)}. Reading one value of "
            f"16,384 takes {ms['hard'][-1] / ms['soft'][-1]:.2f} of the time.",
            "soft_vs_hard, staircase, amplification", HALF,
        ),
        Claim(
            "Sigmoid or tanh weights do not sum to 1, need another normalization, and do not amplify.",
            f"They need not sum to 1: sigmoid attention without that reaches "
            f"{of(trained['retrieval among 32']['sigmoid, no sum of 1'])} % among 32 keys, softmax "
            f"{of(trained['retrieval among 32']['softmax'])}. And a normalized sigmoid of very negative scores is "
            f"softmax: 4, 2, 1, all minus 10, give {show(amp['numbers']['sigmoid below 0'], 3)}.",
            "amplification", HALF,
        ),
        Claim(
            "Sparse attention is efficient, but too rigid where several items matter.",
            f"A majority of three: softmax {of(few['softmax'])} %, 1.5-entmax {of(few['1.5-entmax'])}, sparsemax "
            f"{of(few['sparsemax'])}, top-4 {of(few['top-4'])}, one choice {of(few['straight-through'])}. What is too "
            "rigid is to keep fewer than the task needs.",
            "amplification", HALF,
        ),
        Claim(
            "A high temperature flattens, a low one sharpens; networks can adapt it.",
            f"The leader's weight is {tour['temperature']['0.1'][0]:.2f} at τ = 0.1 and "
            f"{tour['temperature']['10.0'][0]:.2f} at 10. A learned τ ends at "
            f"{statistics.median(run['final'][0] for run in r['temperature']['learned']):.2f} from a start at 0.02, "
            "where 2 is the truth.",
            "softmax_tour, temperature", HOLDS,
        ),
    ]  # fmt: skip


def why_softmax(r: Records) -> list[Claim]:
    tour, amp, sure = r["softmax_tour"], r["amplification"], r["too_sure"]["rows"]
    stairs, permuted, digits = r["staircase"]["rows"], amp["trained"]["permuted"], r["digits"]["rows"]["softmax"]
    return [
        Claim(
            "Softmax is differentiable, so gradients flow.",
            f"They flow where it is not saturated: its slope is below 1e-6 at "
            f"{stairs['softmax, τ = 0.1']['slope below 1e-6, %']:.0f} % of the points at τ = 0.1, at "
            f"{stairs['softmax, τ = 1']['slope below 1e-6, %']:.0f} % at τ = 1. From tables three times as large it "
            f"reaches {of(sure['softmax, tables at scale 3'])} % instead of {of(sure['softmax'])}. Smooth is not enough.",
            "staircase, too_sure", HALF,
        ),
        Claim(
            "It amplifies and yet keeps the minor weights in view.",
            f"No weight of 4, 2, 1 is 0 ({show(tour['softmax'])}); but see above for where it flattens.",
            "softmax_tour", HALF,
        ),
        Claim(
            "It is interpretable: weights show what the network looks at, which helps debugging.",
            f"In the memory network the weights matter: permuted, they leave {of(permuted, 'permuted')} % of answers "
            f"right, of {of(permuted, 'right')} %. On digits equal weights do as well as learned ones "
            f"({of(r['digits']['rows']['same weight for all'])} and {of(r['digits']['rows']['softmax'])} %), and the patch "
            f"looked at most shows little: with another image's pixels in its place {of(digits, 'before it')} % are still "
            f"read right (in one seed {min(run['before it'] for run in digits):.1f}). As it leaves the block it counts, for it has gathered from the others: exchanged there, it leaves "
            f"{of(digits, 'after the block')} %. Permute before you believe.",
            "amplification, digits", HALF,
        ),
        Claim(
            "It is stable numerically once the maximum is subtracted.",
            f"Adding 10 to all scores changes its weights by at most "
            f"{amp['properties']['softmax']['all + 10: largest change']:.0e}; 1000, 1001, 1002, whose exponentials overflow, are no trouble.",
            "amplification, softmax_tour", HOLDS,
        ),
        Claim(
            "Ten words or a hundred: the same function.",
            f"The function, yes; the focus, no. One score of 3 among zeros gets {tour['length 10']:.2f} of 10 words' "
            f"weight and {tour['length 100']:.2f} of 100 words'.",
            "softmax_tour, temperature", HALF,
        ),
        Claim(
            "It gives a valid distribution without a change of architecture, so it spread to vision and speech.",
            f"The weights are how often each score is the largest under Gumbel noise, to within "
            f"{amp['error of draws']:.3f}. Why it spread is history.",
            "amplification", HOLDS,
        ),
    ]  # fmt: skip


def changed(r: Records) -> list[Claim]:
    pretrained = r.get("pretrained")
    memory, cart = r["memory_network"]["rows"], r["cartpole"]["rows"]["softmax"]
    auc = r["recommend"]["rows"]
    said = (
        f"A BERT runs here. {pretrained['in_words'][0]}"
        if pretrained
        else "A small GPT trains here; models of that size do not."
    )
    return [
        Claim(
            "The Transformer, BERT and GPT are built on it, and reach human level on many tasks.",
            said, "char_gpt" + (", pretrained" if pretrained else ""), NOT_HERE,
        ),
        Claim(
            "In vision, attention to regions improved detection and captions, and could be looked at.",
            f"Digits were read and the weights drawn; it improved nothing over equal weights "
            f"({of(r['digits']['rows']['softmax'])} and {of(r['digits']['rows']['same weight for all'])} %). Detection "
            "and captions were not tried.",
            "digits", NOT_TRUE,
        ),
        Claim(
            "Memory networks, recommenders and reinforcement learning use the same weighting.",
            f"Two hops of it answer {of(memory['2 hops'], 'two')} % of questions that need two facts, one hop "
            f"{of(memory['1 hop'], 'two')} %. Attention to a history ranks with AUC {of(auc['attention'], 'auc8')} where "
            f"a mean has {of(auc['mean pooling'], 'auc8')}. A softmax policy balances a pole for {of(cart, 'sampled', 0)} "
            "of 500 steps.",
            "memory_network, recommend, cartpole", HOLDS,
        ),
    ]  # fmt: skip


def ahead(r: Records) -> list[Claim]:
    sure, cost = r["too_sure"]["rows"], r["long_attention"]["cost"]["8192"]
    rows, since = r["soft_vs_hard"]["retrieval"]["32"], r["since"]["retrieval"]
    mib = {name: statistics.median(run[name]["mib"] for run in cost) for name in ("attention", "tiled")}
    return [
        Claim(
            "Networks will learn their temperatures or adapt them to the context.",
            f"One learned τ takes a start that is too sure from {of(sure['softmax, tables at scale 3'])} to "
            f"{of(sure['scale 3, learned τ'])} %; QK-norm, which does it for every head, to "
            f"{of(sure['scale 3, QK-norm'])} %.",
            "too_sure", HOLDS,
        ),
        Claim(
            "Sparsemax has exact zeros and is still differentiable.",
            f"It has, but with one survivor its gradient is exactly 0, too "
            f"({show(r['softmax_tour']['gradient sparsemax'], 0)} at 4, 2, 1), and it is not smooth. Among 32 keys it "
            f"reaches {of(rows['sparsemax'])} %.",
            "softmax_tour, soft_vs_hard", HALF,
        ),
        Claim(
            "Approximations, hardware and mathematics make it efficient for long sequences.",
            f"In tiles, exactly the same attention takes {mib['tiled']:.0f} MiB at 8,192 positions instead of "
            f"{mib['attention']:.0f}. Linear attention loses what it saves: among 64 keys, with 16 features, "
            f"{of(since['retrieval among 64']['linear attention'])} % where softmax has "
            f"{of(since['retrieval among 64']['softmax'])}.",
            "long_attention, since", HOLDS,
        ),
        Claim("Its role seems secure.", "Nothing here can tell.", "", NOT_HERE),
    ]  # fmt: skip


PARTS = {
    "Vectors": vectors,
    "What softmax does": softmax,
    "Why attention": why_attention,
    "How softmax powers attention": powers,
    "What did not work as well": rivals,
    "Why softmax won": why_softmax,
    "What it changed": changed,
    "What is next": ahead,
}


def page(records: Records | None = None) -> str:
    records = records or Records()
    parts = {heading: claims(records) for heading, claims in PARTS.items()}
    verdicts = [claim.verdict for claims in parts.values() for claim in claims]
    verbs = {HOLDS: ("holds", "hold"), **{v: (f"is {v}", f"are {v}") for v in (HALF, NOT_TRUE, NOT_HERE)}}
    counts = [f"{verdicts.count(v)} {both[verdicts.count(v) != 1]}" for v, both in verbs.items()]
    told = f"{', '.join(counts[:-1])} and {counts[-1]}"
    lines, number = [INTRODUCTION.format(n=len(verdicts), counts=told)], 0
    for heading, claims in parts.items():
        lines += ["", f"## {heading}", "", "| | claim | what was measured | where | verdict |", "|---|---|---|---|---|"]
        for claim in claims:
            number += 1
            where = "<br>".join(f"[`{name}.py`]({name}.py)" for name in claim.where.split(", ") if name)
            lines.append(f"| {number} | {claim.says} | {claim.measured} | {where} | **{claim.verdict}** |")
    return "\n".join(lines) + "\n"
