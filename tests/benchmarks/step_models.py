"""What train_step.py trains: the sizes, the weights and batches all libraries start from, and one step of each library.

Also the limit: the matrix products of such a step, and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Size:
    batch: int
    seq_len: int
    d_model: int
    n_heads: int
    n_layers: int
    vocab_size: int = 65
    lr: float = 1e-3

    def __str__(self):
        return (
            f"batch {self.batch} x {self.seq_len} tokens, d_model {self.d_model}, "
            f"{self.n_heads} heads, {self.n_layers} layer{'s' if self.n_layers > 1 else ''}"
        )


ROWS = [
    Size(batch=4, seq_len=8, d_model=16, n_heads=2, n_layers=1),
    Size(batch=16, seq_len=16, d_model=32, n_heads=4, n_layers=1),
    Size(batch=16, seq_len=32, d_model=64, n_heads=4, n_layers=2),
    Size(batch=12, seq_len=64, d_model=128, n_heads=4, n_layers=4),  # nanoGPT's setting for a CPU
    Size(batch=32, seq_len=128, d_model=192, n_heads=6, n_layers=4),
]


def initial_weights(size):
    """The numbers every library starts from, under minigrad's names; a linear layer's weight is (d_in, d_out)."""
    d = size.d_model
    shapes = {"token_embedding.weight": (size.vocab_size, d), "position_embedding.weight": (size.seq_len, d)}
    for i in range(size.n_layers):
        for norm in ("norm1", "norm2"):
            shapes |= {f"blocks.{i}.{norm}.weight": (d,), f"blocks.{i}.{norm}.bias": (d,)}
        for name, d_in, d_out in [
            *((f"attn.{part}", d, d) for part in ("query", "key", "value", "out")),
            ("mlp.up", d, 4 * d),
            ("mlp.down", 4 * d, d),
        ]:
            shapes |= {f"blocks.{i}.{name}.weight": (d_in, d_out), f"blocks.{i}.{name}.bias": (d_out,)}
    shapes |= {"norm.weight": (d,), "norm.bias": (d,), "head.weight": (d, size.vocab_size)}

    rng = np.random.default_rng(0)
    ones = {name for name in shapes if "norm" in name and name.endswith("weight")}
    return {name: rng.normal(name in ones, 0.02, shape).astype(np.float32) for name, shape in shapes.items()}


def batches(size, n=8):
    """Some pairs (ids, targets) of random ids."""
    rng = np.random.default_rng(1)
    ids = rng.integers(size.vocab_size, size=(n, size.batch, size.seq_len + 1))
    return [(np.ascontiguousarray(piece[:, :-1]), np.ascontiguousarray(piece[:, 1:])) for piece in ids]


@dataclass(frozen=True)
class Training:
    """One step of a library, (ids, targets) -> loss, and what belongs to it."""

    step: object
    parameters: int  # how many numbers it trains
    pairs: list  # the batches of this process
    rank: int = 0
    # The sum over all processes of a number: a loss, already weighted by `weight`; with one process, the number.
    sum: object = float
    weight: float = 1.0  # this process's share of a batch


def minigrad_training(size, weights, workers):
    """A step with as many processes as `workers` knows: see minigrad.training.parallel."""
    from minigrad import cross_entropy, nn, optim

    model = nn.GPT(nn.GPTConfig(size.vocab_size, size.seq_len, size.n_layers, size.n_heads, size.d_model))
    model.load_state_dict(weights)
    optimizer = workers.share(optim.AdamW(model.parameters(), lr=size.lr, weight_decay=0.01))
    pairs = [workers.mine(pair) for pair in batches(size)]
    weight = len(pairs[0][0]) / size.batch

    def step(ids, targets):
        optimizer.zero_grad()
        loss = cross_entropy(model(ids), targets)
        loss.backward()
        workers.average(optimizer, weight=weight)
        optimizer.step()
        return loss

    return Training(step, optimizer.values.size, pairs, workers.rank, workers.sum, weight)


def torch_training(size, weights, library, ranks):
    """PyTorch's eager step, its compiled one, or that of DistributedDataParallel; all in torch_gpt.py."""
    import torch
    import torch_gpt

    pairs = [(torch.from_numpy(ids), torch.from_numpy(targets)) for ids, targets in batches(size)]
    options = {"fused": library != "torch", "compiled": library == "torch.compile"}
    if library != "torch ddp":
        step, parameters = torch_gpt.training_step(size, weights, **options)
        return Training(step, parameters, pairs)
    rank, total = torch_gpt.join(ranks)
    rows = slice(size.batch * rank // ranks, size.batch * (rank + 1) // ranks)
    step, parameters = torch_gpt.training_step(size, weights, distributed=True, **options)
    pairs = [(ids[rows], targets[rows]) for ids, targets in pairs]
    return Training(step, parameters, pairs, rank, total, len(pairs[0][0]) / size.batch)


def training(library, size, workers=None, ranks=1):
    """How a library trains. Raises KeyError for one that is not known."""
    weights = initial_weights(size)
    if library == "minigrad":
        from minigrad.training import parallel

        return minigrad_training(size, weights, workers or parallel.Workers())
    if library.startswith("torch"):
        return torch_training(size, weights, library, ranks)
    import functional_gpt

    step = {"jax": functional_gpt.jax_step, "autograd": functional_gpt.autograd_step}[library]
    return Training(step(size, weights), sum(w.size for w in weights.values()), batches(size))


def share_of(size, ranks):
    """The size that each of `ranks` processes has to compute."""
    return replace(size, batch=-(-size.batch // ranks))


# --- the limit ---------------------------------------------------------------------------------------------------


def products(size):
    """The matrix products of the forward pass, (batch axes, n, k, m) for each (n, k) @ (k, m).

    The backward pass has two more for each, of as many operations: grad_y @ bᵀ and aᵀ @ grad_y.
    """
    rows, d, T = size.batch * size.seq_len, size.d_model, size.seq_len
    heads, d_head = (size.batch * size.n_heads,), size.d_model // size.n_heads
    block = [
        ((), rows, d, 3 * d),  # query, key, value
        (heads, T, d_head, T),  # scores
        (heads, T, T, d_head),  # weights @ value
        ((), rows, d, d),
        ((), rows, d, 4 * d),
        ((), rows, 4 * d, d),
    ]
    return block * size.n_layers + [((), rows, d, size.vocab_size)]


def gflop(size):
    """Billions of floating-point operations in the matrix products of a step."""
    return sum(3 * 2 * math.prod(lead) * n * k * m for lead, n, k, m in products(size)) / 1e9


def products_alone(size, library):
    """A function that computes all matrix products of a step, forward and backward, with NumPy or PyTorch."""
    if library.startswith("torch"):
        import torch

        matmul, new = torch.matmul, torch.ones
    else:
        matmul, new = np.matmul, lambda shape: np.ones(shape, np.float32)
    arrays = {
        (lead, n, k, m): [new((*lead, *shape)) for shape in ((n, k), (k, m), (n, m), (n, k), (k, m))]
        for lead, n, k, m in products(size)
    }

    def run():
        for shape in products(size):
            a, b, y, grad_a, grad_b = arrays[shape]
            matmul(a, b, out=y)
            matmul(y, b.mT, out=grad_a)  # any array of y's shape does for grad_y
            matmul(a.mT, y, out=grad_b)

    return run
