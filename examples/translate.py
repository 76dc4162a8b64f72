"""Translation: attention finds the source word of each target word; one vector for a whole sentence overflows.

A small grammar (grammar.py) makes English sentences and their Spanish translations. Adjectives and nouns change places,
and articles and adjectives agree with their noun in gender and number:

    my grandmother bakes incredible cookies        the uncles will buy   sweet pears  and the king hides   my egg
    mi abuela      hornea galletas increíbles      los tíos   comprarán  peras dulces y   el  rey  esconde mi huevo

A GRU reads the English words from the left, another from the right. A third GRU, the decoder, writes Spanish word by
word. With attention (Bahdanau, Cho & Bengio 2015; Luong, Pham & Manning 2015) each of its states is a query to all the
English words. Without, it has one vector for the whole sentence (Cho et al. 2014), at its start and beside every word
it writes, and is a little wider, so that it has no fewer parameters. A last row trains it twice as long.

Training sentences have 1 to 4 clauses; the test uses clauses that training never sees, and up to 6 of them. You will
see how many sentences come out right to the last word, and whether the largest weight is on the word that the grammar
made the next one from, which nobody tells the model. (Settings were chosen for attention, on test clauses, seeds 0 and
1; one vector was tried at two learning rates and with up to 3,000 steps.)

Takes about 4 minutes on two cores; --quick less than 20 seconds.
"""

from __future__ import annotations

import story  # isort: skip (first: it hears Ctrl-C while the others load)
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import minigrad as mg
import pictures
from grammar import END, EXAMPLE, PAD, START, aligned, arrays, language, sentence
from minigrad import nn, optim

TRAIN, TEST, ENGLISH, SPANISH = language()  # clauses to learn from and to test on; the number of every word


@dataclass(frozen=True)
class Settings:
    attention: bool = True
    d: int = 64
    steps: int = 1300
    batch: int = 40
    lr: float = 6e-3
    n_clauses: int = 4  # in training, at most
    n_longest: int = 6  # in the test
    n_tests: int = 200  # sentences of each length


class Translator(nn.Module):
    def __init__(self, s: Settings, rng: np.random.Generator) -> None:
        d, self.attention = s.d, s.attention
        self.english, self.spanish = nn.Embedding(len(ENGLISH), d, rng=rng), nn.Embedding(len(SPANISH), d, rng=rng)
        self.from_left, self.from_right = nn.GRU(d, d // 2, rng=rng), nn.GRU(d, d // 2, rng=rng)
        self.start, self.decoder = nn.Linear(d, d, rng=rng), nn.GRU(d, d, rng=rng)
        if s.attention:
            self.query = nn.Linear(d, d, rng=rng)
            self.key, self.value = nn.Linear(2 * d, d, rng=rng), nn.Linear(2 * d, d, rng=rng)
        self.mix, self.out = nn.Linear(2 * d, d, rng=rng), nn.Linear(d, len(SPANISH), rng=rng)

    def encode(self, source: np.ndarray) -> tuple[mg.Tensor, Any]:
        """One vector for the sentence; with attention also a key and a value for each word, and a mask."""
        mask = source != PAD
        words = self.english(source)  #                                                      (B, T, d)
        left, right = self.from_left(words, mask=mask), self.from_right(words, mask=mask, reverse=True)
        vector = mg.tanh(self.start(mg.concat([left[:, -1], right[:, 0]], axis=-1)))  #      (B, d)
        if not self.attention:
            return vector, None
        seen = mg.concat([left, right, words], axis=-1)  # the word itself, too: states blend it with its neighbours
        return vector, (self.key(seen), self.value(seen), mask[:, None, :])

    def decode(self, given: np.ndarray, state: mg.Tensor, vector: mg.Tensor, memory: Any) -> tuple[Any, mg.Tensor]:
        """The logits of the next word after each one given, and the decoder's states."""
        states = self.decoder(self.spanish(given), state)  #                                 (B, T, d)
        if self.attention:
            keys, values, mask = memory
            context = mg.attention(self.query(states), keys, values, mask=mask)  #           (B, T, d)
        else:
            context = mg.broadcast_to(vector[:, None], shape=states.shape)
        return self.out(mg.tanh(self.mix(mg.concat([states, context], axis=-1)))), states

    def forward(self, source: np.ndarray, given: np.ndarray) -> mg.Tensor:
        vector, memory = self.encode(source)
        return self.decode(given, vector, vector, memory)[0]

    @mg.no_grad()
    def weights(self, source: np.ndarray, given: np.ndarray) -> np.ndarray:
        """Where the decoder looks when it writes the word after each one given, (B, Tq, Tk)."""
        vector, (keys, _, mask) = self.encode(source)
        return mg.attention_weights(self.query(self.decoder(self.spanish(given), vector)), keys, mask=mask).numpy()

    @mg.no_grad()
    def translate(self, source: np.ndarray, longest: int) -> np.ndarray:
        """Write the likeliest word, again and again: (B, longest), to be read up to <end>."""
        vector, memory = self.encode(source)
        state, word, written = vector, np.full((len(source), 1), START), []
        for _ in range(longest):
            logits, states = self.decode(word, state, vector, memory)
            state, word = states[:, -1], logits.numpy().argmax(-1)
            written.append(word)
        return np.concatenate(written, axis=1)


def train(s: Settings, seed: int) -> dict[str, Any]:
    model, data = Translator(s, np.random.default_rng([seed, 0])), np.random.default_rng([seed, 1])
    optimizer = optim.Adam(model.parameters(), lr=s.lr)
    for step in range(s.steps):
        n = int(data.integers(1, s.n_clauses + 1))
        source, given, target = arrays([sentence(n, TRAIN, data) for _ in range(s.batch)])
        loss = mg.cross_entropy(model(source, given), target, ignore_index=PAD)
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm(optimizer, 1.0)
        optimizer.lr = optim.cosine_schedule(step, lr=s.lr, warmup=min(50, s.steps // 2), steps=s.steps)
        optimizer.step()
    found = {"parameters": sum(p.size for p in model.parameters()), "example": example(model)}
    return found | evaluate(model, s, np.random.default_rng([seed, 2]))


def evaluate(model: Translator, s: Settings, rng: np.random.Generator) -> dict[str, list[float]]:
    """For each number of clauses: flawless sentences and aligned words, in percent, and English words per sentence."""
    found: dict[str, list[float]] = {"right": [], "words": [], "aligned": [], "same position": []}
    for n in range(1, s.n_longest + 1):
        sentences = [sentence(n, TEST, rng) for _ in range(s.n_tests)]
        source, given, target = arrays(sentences)
        right = (model.translate(source, target.shape[1]) == target) | (target == PAD)
        found["right"].append(100 * float(right.all(1).mean()))
        found["words"].append(float(np.mean([len(english) for english, _ in sentences])))
        same = np.broadcast_to(np.arange(target.shape[1]), target.shape)
        found["same position"].append(aligned(same, sentences))
        if s.attention:
            found["aligned"].append(aligned(model.weights(source, given).argmax(-1), sentences))
    return found


def example(model: Translator) -> dict[str, Any]:
    """The grandmother's sentence as the model translates it, and with attention where each word looks."""
    words, source = [*SPANISH], np.array([[*(ENGLISH[word] for word in EXAMPLE.split()), END]])
    written = model.translate(source, 8)[0].tolist()
    written = written[: written.index(END)] if END in written else written
    found: dict[str, Any] = {"spanish": [words[i] for i in written]}
    if model.attention and written:
        weights = model.weights(source, np.array([[START, *written[:-1]]]))[0]
        found["weights"] = np.round(weights, 3).tolist()
    return found


# --- what was seen ---------------------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = story.parse(story.flags(__doc__, steps="training steps"), argv, quick_seeds=1)
    s = Settings(n_clauses=2, n_longest=3, n_tests=100, steps=250) if args.quick else Settings()
    s = replace(s, steps=args.steps or s.steps)
    plain = replace(s, attention=False, d=74)
    rows = {"attention": s, "one vector": plain, "one vector, twice the training": replace(plain, steps=2 * s.steps)}
    results = {
        "settings": {"seeds": args.seeds, "steps": s.steps, "n_clauses": s.n_clauses},
        "rows": story.compare(train, rows, args, "translation"),
    }
    return story.finish("translate", args, results, in_words, report, draw)


def report(results: dict[str, Any]) -> None:
    s, rows = results["settings"], results["rows"]
    lines = [(f"flawless sentences: {name}", name, "right") for name in rows]
    lines.append(("words aligned: largest weight", "attention", "aligned"))
    lines.append(("words aligned: (computed) same position", "attention", "same position"))
    words = np.mean([run["words"] for run in rows["attention"]], 0)
    cells = [
        [label, *(story.spread([run[key][i] for run in rows[name]]) for i in range(len(words)))]
        for label, name, key in lines
    ]
    title = f"%, median (range) of {s['seeds']} seeds; {s['steps']} steps on 1 to {s['n_clauses']} clauses"
    story.table(title, ["clauses (words)", *(f"{i} ({w:.0f})" for i, w in enumerate(words, 1))], cells)
    story.say(f"\n{EXAMPLE}")
    for name, runs in rows.items():
        story.say(f"   {name}: {' '.join(runs[0]['example']['spanish'])}")


def in_words(results: dict[str, Any]) -> list[str]:
    n, rows = results["settings"]["n_clauses"], results["rows"]
    right, one_vector, hits = (  # over the sentences no longer than those in training
        np.median([np.mean(run[key][:n]) for run in rows[name]])
        for name, key in (("attention", "right"), ("one vector", "right"), ("attention", "aligned"))
    )
    return [
        f"Flawless translations: {right:.1f} % with attention, {one_vector:.1f} % from one vector.",
        f"The sentences are new and have 1 to {n} clauses. The largest weight is on the right source word in "
        f"{hits:.1f} %.",
    ]


@pictures.picture(1, 2, size=(12.5, 4.8), dark=True, width_ratios=[1, 1.2])
def draw(results: dict[str, Any], looks: Any, curves: Any) -> None:
    told, columns = results["rows"]["attention"][0]["example"], [*EXAMPLE.split(), "<end>"]
    weights = np.array(told.get("weights", np.zeros((0, len(columns)))))
    looks.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    for (i, j), weight in np.ndenumerate(weights):
        looks.text(j, i, f"{weight:.2f}", ha="center", va="center", color="white" if weight > 0.5 else pictures.DARK)
    looks.set_xticks(range(len(columns)), columns, rotation=35, ha="left")
    looks.set_yticks(range(len(told["spanish"])), told["spanish"])
    looks.xaxis.tick_top()
    looks.grid(visible=False)
    looks.set_title("Each Spanish word looks at its English one", y=-0.12)

    ends = {}
    for i, (name, runs) in enumerate(results["rows"].items()):
        words = np.mean([run["words"] for run in runs], 0)
        pictures.band(curves, words, [run["right"] for run in runs], f"C{i}")
        ends[name] = (float(np.median([run["right"] for run in runs], 0)[-1]), f"C{i}")
    longest = words[results["settings"]["n_clauses"] - 1]
    curves.axvline(longest, color=curves.xaxis.label.get_color(), linestyle=":", linewidth=1)
    curves.text(longest + 0.4, 6, "longer than any in training", fontsize=9)
    curves.set(title="One vector forgets, attention looks up", xlabel="English words in the sentence")
    curves.set(ylabel="sentences without a mistake, %", ylim=(-2, 103), xlim=(words[0], words[-1]))
    pictures.labels(curves, ends)


if __name__ == "__main__":
    story.tell(main)
