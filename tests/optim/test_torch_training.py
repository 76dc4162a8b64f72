"""A GPT trained beside PyTorch's: same weights, same batches, same recipe, and so the same loss at every step."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim, text

torch = pytest.importorskip("torch", reason="PyTorch is not installed: no parity test")
F = torch.nn.functional

STEPS = 200
RECIPE = {"lr": 1e-2, "lr_min": 1e-3, "warmup": 20, "steps": STEPS}


def forward(p, ids, config):
    """The GPT of nn/transformer.py written with PyTorch's own functions; `p` its parameters, by our names."""

    def norm(x, name):
        return F.layer_norm(x, (config.d_model,), p[f"{name}.weight"], p[f"{name}.bias"])

    def linear(x, name):
        return F.linear(x, p[f"{name}.weight"].T, p[f"{name}.bias"])

    def heads(x):  # (B, T, d_model) -> (B, n_heads, T, d_head)
        return x.unflatten(-1, (config.n_heads, -1)).transpose(1, 2)

    x = p["token_embedding.weight"][ids] + p["position_embedding.weight"][: ids.shape[1]]
    for i in range(config.n_layers):
        block = f"blocks.{i}"
        y = norm(x, f"{block}.norm1")
        q, k, v = (heads(linear(y, f"{block}.attn.{name}")) for name in ("query", "key", "value"))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + linear(y.transpose(1, 2).flatten(-2), f"{block}.attn.out")
        y = F.gelu(linear(norm(x, f"{block}.norm2"), f"{block}.mlp.up"), approximate="tanh")
        x = x + linear(y, f"{block}.mlp.down")
    return norm(x, "norm") @ p["head.weight"]


@pytest.fixture
def one_thread():
    """Two libraries' thread pools, spinning against each other, take ten times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_200_steps_of_training_follow_pytorch():
    """float64, so that a difference would be one of method and not of rounding."""
    source = text.load()[:20_000]
    vocabulary = text.Vocabulary.from_text(source)
    config = nn.GPTConfig(len(vocabulary), block_size=12, n_layers=2, n_heads=2, d_model=16)
    model = nn.GPT(config, rng=np.random.default_rng(0)).astype(np.float64)
    theirs = {name: torch.tensor(array, requires_grad=True) for name, array in model.state_dict().items()}
    settings = {"betas": (0.9, 0.99), "weight_decay": 0.1}
    optimizer = optim.AdamW(model.parameters(), **settings)
    groups = [
        {"params": [p for p in theirs.values() if p.ndim >= 2]},
        {"params": [p for p in theirs.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    their_optimizer = torch.optim.AdamW(groups, **settings)

    losses, norms = [], []
    batches = text.batches(vocabulary.encode(source), config.block_size, 4, np.random.default_rng(1))
    for step, (ids, targets) in enumerate(itertools.islice(batches, STEPS)):
        lr = optim.cosine_schedule(step, **RECIPE)

        loss = mg.cross_entropy(model(ids), targets)
        optimizer.zero_grad()
        loss.backward()
        norm = optim.clip_grad_norm(optimizer, 1.0)
        optimizer.lr = lr
        optimizer.step()

        logits = forward(theirs, torch.tensor(ids), config)
        their_loss = F.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).flatten())
        their_optimizer.zero_grad()
        their_loss.backward()
        # Not clip_grad_norm_, which divides by norm + 1e-6: Adam makes of that millionth 1.5e-4 in the loss.
        their_norm = torch.nn.utils.get_total_norm([p.grad for p in theirs.values()])
        for p in theirs.values():
            p.grad *= min(1.0, 1.0 / their_norm.item())
        for group in their_optimizer.param_groups:
            group["lr"] = lr
        their_optimizer.step()

        losses.append((loss.item(), their_loss.item()))
        norms.append((norm, their_norm.item()))

    ours, pytorchs = np.array(losses).T
    np.testing.assert_allclose(ours, pytorchs, rtol=0, atol=1e-6)
    np.testing.assert_allclose(*np.array(norms).T, rtol=1e-6)
    assert ours[-20:].mean() < ours[0] - 1.5  # it learned: the curves had something to agree about
    assert min(norms)[0] < 1.0 < max(norms)[0]  # some gradients were clipped, and some not
