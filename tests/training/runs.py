"""A training run for the tests of this folder: what a checkpoint has to bring back."""

from __future__ import annotations

import itertools

import numpy as np

from minigrad import cross_entropy, optim, text
from minigrad.nn import GPT, GPTConfig
from minigrad.training.checkpoint import save

IDS = np.random.default_rng(0).integers(0, 11, 500)
CONFIG = GPTConfig(vocab_size=11, block_size=8, n_layers=2, n_heads=2, d_model=16, dropout=0.2)
OPTIMIZERS = {
    "AdamW": lambda p: optim.AdamW(p, 1e-2, betas=(0.9, 0.99), weight_decay=0.1),
    "Adam": lambda p: optim.Adam(p, 1e-2),
    "SGD": lambda p: optim.SGD(p, 0.1, momentum=0.9),
}


class Run:
    """A GPT in training, with dropout."""

    def __init__(self, optimizer="AdamW", config=CONFIG, seed=0, dtype=np.float32, bits=np.random.PCG64):
        self.generators = {
            "model": np.random.Generator(bits(seed)),
            "data": np.random.Generator(bits(seed + 1)),
        }
        self.model = GPT(config, rng=self.generators["model"]).astype(dtype)
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.batches = text.batches(IDS, config.block_size, 4, self.generators["data"])

    def train(self, steps):
        for ids, targets in itertools.islice(self.batches, steps):
            loss = cross_entropy(self.model(ids), targets)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return self

    def save(self, path, **more):
        save(path, self.model, optimizer=self.optimizer, generators=self.generators, **more)
        return path

    def state(self):
        """Everything that training changes, as one flat dict."""
        optimizer = self.optimizer.state_dict()
        moments = {f"{name} {i}": a for name in self.optimizer.moments for i, a in enumerate(optimizer.pop(name))}
        generators = {name: str(rng.bit_generator.state) for name, rng in self.generators.items()}
        return self.model.state_dict() | moments | optimizer | generators


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
