# %% [markdown]
# # 4 · Attention, and why hard attention stands still
#
# Softmax turned scores into weights. Attention puts it to work: a *query* asks, *keys* answer how
# well they fit, and what is returned is a mixture of *values*. Then we ask the question behind
# this whole library: why a mixture? Why not simply take the value whose key fits best?

# %% tags=["setup"]
import math

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display

import minigrad as mg
from course import check_op, say
from minigrad import optim, viz

# %% [markdown]
# ## A dictionary in which every key fits a little
#
# A Python dictionary finds exactly one key, or none. Attention asks **every** key how well it
# fits:
#
#     S = q kᵀ/√d          scores: how well does each key fit the query?
#     W = softmax(S)       weights: each row sums to 1
#     y = W v              the values, mixed by these weights
#
# Four keys point in four directions of the plane. A query goes round the circle and asks for a
# value.

# %%
keys = 4 * np.array([[1, 0], [0, 1], [-1, 0], [0, -1.0]])
values = np.array([[10.0], [20.0], [30.0], [40.0]])
angle = np.linspace(0, 2 * np.pi, 200)
queries = np.stack([np.cos(angle), np.sin(angle)], axis=1)  # (200, 2)
W = mg.softmax(queries @ keys.T / math.sqrt(2)).numpy()  # (200, 4)
_, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8))
left.plot(np.degrees(angle), W, lw=2, label=["key at 0°", "90°", "180°", "270°"])
left.set(title="weights", xlabel="direction of the query", ylim=(0, 1.15))
left.legend(fontsize=8, ncols=4, loc="upper center", columnspacing=0.8, handlelength=1)
right.plot(np.degrees(angle), W @ values, lw=2, label="softmax")
right.plot(np.degrees(angle), values[W.argmax(1)], "k:", label="the best key alone")
right.set(title="what is returned", xlabel="direction of the query")
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# Two more words. Why √d? The score is a sum of d products; for random numbers it grows like √d,
# and a softmax of large scores is too sure to learn, as we saw. Dividing keeps it where it was.
# And a *head* is one such look-up; large models make many side by side.
#
# ## The task: find it
#
# Eight items lie in eight places, each time shuffled. Question i asks for what lies in place i.
# The model has a query for each question and a key for each place, both random at first. It has to
# learn to **look at the right place**. Nothing else helps, since what lies there is different
# every time.


# %%
def train(normalize, steps=200, n=8, d=16, seed=0):
    rng = np.random.default_rng(seed)
    queries = mg.Tensor(rng.normal(size=(n, d)), requires_grad=True)
    keys = mg.Tensor(rng.normal(size=(n, d)), requires_grad=True)
    start = queries.numpy().copy()
    optimizer = optim.Adam([queries, keys], lr=0.03)
    losses = []
    for _ in range(steps):
        items = rng.permutation(n)
        weights = normalize(queries @ keys.mT / math.sqrt(d))  # (n, n)
        loss = mg.cross_entropy(weights @ (5 * np.eye(n)[items]), items)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, weights, np.abs(queries.numpy() - start).max()


# %% [markdown]
# `hardmax` gives weight 1 to the largest score. Everything else is the same: the same task, start
# and optimizer. Five starts each, so that we aren't fooled by luck.

# %%
last = {}
for normalize, color in ((mg.softmax, "tab:blue"), (mg.hardmax, "tab:red")):
    for seed in range(5):
        losses, last[normalize.__name__], moved = train(normalize, seed=seed)
        plt.plot(losses, color=color, lw=1, label=normalize.__name__ if seed == 0 else None)
        told = f"loss {losses[0]:.2f}, then {losses[-1]:.2f}; queries moved by {moved:.2g}"
        print(f"{normalize.__name__}, start {seed}: {told}")
plt.gca().set(xlabel="step", ylabel="loss")
plt.legend()
plt.show()

# %% [markdown]
# Soft attention learns from each start. Hard attention's queries have moved by **0**. Not by
# little: by exactly nothing. Here is where each of them looks after training. Rows are questions,
# columns places; the diagonal is right.

# %%
places = [f"place {i}" for i in range(8)]
soft, hard = (last[name].numpy() for name in ("softmax", "hardmax"))
questions = [f"question {i}" for i in range(8)]
display(viz.heatmap(soft, questions, places, title="softmax"))
display(viz.heatmap(hard, questions, places, title="hardmax"))

# %% [markdown]
# ## Why it stands still
#
# Nudge a score a little. With softmax every weight moves a little, and the loss says whether that
# was good. With hardmax the largest score is still the largest: **no weight moves at all**. So the
# slope is 0, for every score, in every step. The walk back from the loss arrives at hardmax and
# has nothing to pass on. In this picture red and dashed means: the gradient is exactly 0.

# %%
rng = np.random.default_rng(0)
q, k, v = (mg.Tensor(rng.normal(size=(3, 4)), requires_grad=True, name=name) for name in "qkv")
with viz.record() as tape:
    loss = (mg.hardmax(q @ k.mT / 2) @ v).sum()
    loss.backward()
viz.graph(loss, tape=tape)

# %% [markdown]
# minigrad can say it in words, too. Note that v learns: hard attention isn't dead, it just never
# learns *where to look*.

# %%
say(mg.explain_grad(lambda: (mg.hardmax(q @ k.mT / 2) @ v).sum(), q))

# %% [markdown]
# Hard choices can be trained after all, by other means: chance (REINFORCE), or a gradient borrowed
# from softmax (straight-through). They have their price. `examples/soft_vs_hard.py` compares them
# all.
#
# ## Your turn
#
# Attention is three ops, and you know the gradient of the second. Here is the first. Write both
# its VJPs; shapes will help you: the gradient of q has the shape of q.


# %% tags=["exercise"]
def scores(q, k):
    scale = 1 / math.sqrt(q.shape[-1])
    S = q @ k.mT * scale  # .mT swaps the last two axes

    def vjp_q(grad_S):
        pass  # your line

    def vjp_k(grad_S):
        pass  # your line

    return S, (vjp_q, vjp_k)


# %% tags=["check"]
rng = np.random.default_rng(0)
solved = check_op(scores, rng.normal(size=(3, 5)), rng.normal(size=(4, 5)))

# %% [markdown] tags=["solution"]
# <details><summary>The solution</summary>
#
# ```python
# def scores(q, k):
#     scale = 1 / math.sqrt(q.shape[-1])
#     S = q @ k.mT * scale
#
#     def vjp_q(grad_S):
#         return grad_S @ k * scale
#
#     def vjp_k(grad_S):
#         return grad_S.mT @ q * scale
#
#     return S, (vjp_q, vjp_k)
# ```
#
# </details>
#
# **Read on:** `minigrad/ops/attention.py` has all three steps and their gradients in one op. Next:
# [5 · A transformer block](5_a_transformer_block.py).
