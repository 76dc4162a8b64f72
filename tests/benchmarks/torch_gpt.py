"""The GPT of `minigrad.nn` in PyTorch, the way its users write it (after nanoGPT): query, key and value in one product,
scaled_dot_product_attention. Alone, compiled, or data-parallel over gloo.
"""

from __future__ import annotations

import datetime
import os
import subprocess
import sys

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x):
        B, T, d_model = x.shape
        q, k, v = (
            part.view(B, T, self.n_heads, d_model // self.n_heads).transpose(1, 2)  # (B, n_heads, T, d_head)
            for part in self.qkv(x).split(d_model, dim=-1)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(B, T, d_model))


class MLP(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.up = nn.Linear(d_model, 4 * d_model)
        self.down = nn.Linear(4 * d_model, d_model)

    def forward(self, x):
        return self.down(F.gelu(self.up(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(d_model)
        self.attn = Attention(d_model, n_heads)
        self.norm2 = nn.LayerNorm(d_model)
        self.mlp = MLP(d_model)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, vocab_size, block_size, n_layers, n_heads, d_model):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, d_model)
        self.position_embedding = nn.Embedding(block_size, d_model)
        self.blocks = nn.ModuleList([Block(d_model, n_heads) for _ in range(n_layers)])
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, ids):
        x = self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[-1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))  # (B, T, vocab_size)

    def load_from_minigrad(self, weights):
        """Copy arrays with minigrad's names and layout in: there a linear layer's weight is (d_in, d_out)."""
        arrays = {name: torch.from_numpy(array) for name, array in weights.items()}
        state = {}
        for name in self.state_dict():
            if ".qkv." in name:
                parts = [arrays[name.replace("qkv", part)] for part in ("query", "key", "value")]
                array = torch.cat(parts, dim=-1)
            else:
                array = arrays[name]
            is_linear = array.ndim == 2 and "embedding" not in name
            state[name] = array.T if is_linear else array
        self.load_state_dict(state)


def training_step(size, weights, *, fused=True, compiled=False, distributed=False):
    """A function (ids, targets) -> loss that makes one step, and how many parameters it trains.

    `fused` is the fastest AdamW of three: 0.8 ms for 0.8 million parameters; the default 2.7, the plain loop 2.8.
    `distributed` averages gradients over the processes that have called `join`.
    """
    model = GPT(size.vocab_size, size.seq_len, size.n_layers, size.n_heads, size.d_model)
    model.load_from_minigrad(weights)
    n_parameters = sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), lr=size.lr, weight_decay=0.01, fused=fused or None)
    if compiled:
        model = torch.compile(model)
    if distributed:
        model = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)

    def step(ids, targets):
        optimizer.zero_grad(set_to_none=True)
        logits = model(ids)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step, n_parameters


def join(ranks):
    """Start the other processes of this program, if this is the first, and meet them. Returns rank and sum."""
    rank = int(os.environ.get("STEP_RANK", 0))
    if rank == 0:
        for other in range(1, ranks):
            subprocess.Popen([sys.executable, *sys.argv], env=os.environ | {"STEP_RANK": str(other)})
    place = f"file://{os.environ['STEP_MEETING_PLACE']}/gloo"
    patience = datetime.timedelta(minutes=5)  # then the others are told to have failed
    torch.distributed.init_process_group("gloo", init_method=place, rank=rank, world_size=ranks, timeout=patience)

    def total(number):
        found = torch.tensor(float(number), dtype=torch.float64)
        torch.distributed.all_reduce(found)
        return found.item()

    return rank, total
