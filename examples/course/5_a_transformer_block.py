# %% [markdown]
# # 5 · A transformer block, trained on real text
#
# You know all the parts. Now we put them together, and let the result read half a million
# characters: the help texts that come with every Python. It will learn to write something that
# looks like them, from nothing but the question *which character is next?*

# %% tags=["setup"]
import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from course import check_op
from minigrad import nn, optim, text, viz

STEPS = 600

# %% [markdown]
# ## Text as numbers
#
# Each character gets a number, its *id*. A piece of text asks many questions at once: after each
# character, what comes next?

# %%
source = text.load()
vocabulary = text.Vocabulary.from_text(source)
train_ids, validation_ids = text.split(vocabulary.encode(source), 0.9)
print(f"{len(source):,} characters, {len(vocabulary)} different ones")
print(f"'return' is {vocabulary.encode('return')}")
x, y = next(text.batches(train_ids, block_size=12, batch_size=1, rng=np.random.default_rng(1)))
print(f"seen {vocabulary.decode(x[0])!r}\nnext {vocabulary.decode(y[0])!r}")

# %% [markdown]
# How good can a guess be? We measure a guess in *bits per character*: −log₂ of the probability
# that was given to the right one. Whoever knows only how frequent each character is needs the
# text's unigram entropy. Whoever also looks at the last character needs the bigram entropy. To be
# better than that, one has to look further back.

# %%
unigram, bigram = text.unigram_entropy(source), text.bigram_entropy(source)
print(f"unigram {unigram:.2f} bits, bigram {bigram:.2f} bits")

# %% [markdown]
# ## The model
#
# - **Embedding.** Each id picks a row of a table: what the character is. A second table says where
#   it stands. Both are learned.
# - **Attention** moves information between positions. `causal=True`: a position sees only itself
#   and what came before, else it could read the answer.
# - **MLP**: two linear layers with a bend between them. It works at each position by itself.
# - **x + ...** is the *residual* path. Each part adds to what is there instead of replacing it, so
#   a gradient always finds a way back.
# - **Layer normalization** gives each position mean 0 and variance 1 before each part, so that
#   scores don't grow out of hand (see the last picture of notebook 3).


# %%
class TinyGPT(nn.Module):
    def __init__(self, n_characters, d=48, length=32, *, rng):
        self.character = nn.Embedding(n_characters, d, rng=rng)
        self.position = nn.Embedding(length, d, rng=rng)
        self.norm1 = nn.LayerNorm(d)
        self.attention = nn.MultiHeadAttention(d, n_heads=4, causal=True, rng=rng)
        self.norm2 = nn.LayerNorm(d)
        self.mlp = nn.MLP(d, rng=rng)
        self.norm3 = nn.LayerNorm(d)
        self.out = nn.Linear(d, n_characters, rng=rng)

    def embed(self, ids):
        return self.character(ids) + self.position(np.arange(ids.shape[-1]))  # (B, T, d)

    def forward(self, ids):
        x = self.embed(ids)
        x = x + self.attention(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return self.out(self.norm3(x))  # (B, T, n_characters): a score for each next character


model = TinyGPT(len(vocabulary), rng=np.random.default_rng(0))
print(f"{sum(p.size for p in model.parameters()):,} parameters")
with viz.record() as tape:
    loss = mg.cross_entropy(model(x), y)
    loss.backward()
viz.graph(loss, tape=tape)

# %% [markdown]
# Follow the two long arrows that pass by `attention` and `mlp`: these are the residual paths.
#
# ## Training
#
# The loop is the one that moved the rope in notebook 1: loss, backward, a step against the
# gradient. Adam takes the step: it divides each gradient by its usual size. Every 20 steps we look
# at text that is never trained on.

# %%
optimizer = optim.AdamW(model.parameters(), lr=3e-3)
batches = text.batches(train_ids, 32, 16, np.random.default_rng(0))
held_out = next(text.batches(validation_ids, 32, 64, np.random.default_rng(1)))
steps, bits = [], []
for step in range(STEPS + 1):
    if step % 20 == 0:
        with mg.no_grad():
            steps.append(step)
            bits.append(mg.cross_entropy(model(held_out[0]), held_out[1]).item() / np.log(2))
    ids, following = next(batches)
    loss = mg.cross_entropy(model(ids), following)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

plt.plot(steps, bits, lw=2, label=f"the model: {bits[0]:.2f}, then {bits[-1]:.2f}")
plt.axhline(unigram, color="gray", ls=":", label=f"frequencies alone: {unigram:.2f}")
plt.axhline(bigram, color="crimson", ls="--", label=f"and the last character: {bigram:.2f}")
plt.gca().set(xlabel="step", ylabel="bits per character", ylim=(0, None))
plt.legend()
plt.show()

# %% [markdown]
# Below the dashed line it does what no table of pairs can do: it looks further back than one
# character. Let it write. It draws a character by its weights, appends it, and asks again.

# %%
rng = np.random.default_rng(0)
ids = list(vocabulary.encode("The "))
with mg.no_grad():
    for _ in range(300):
        logits = model(np.array([ids[-32:]]))[0, -1].numpy()
        weights = mg.softmax(logits.astype(float)).numpy()
        ids.append(rng.choice(len(vocabulary), p=weights))
print(vocabulary.decode(ids))

# %% [markdown]
# Spaces, line ends, the lengths of words, beginnings and endings: it has all that from nothing but
# questions for the next character. The words make no sense. For sense it takes more layers, more
# text and more time, but no new idea. `examples/char_gpt.py` goes on from here.
#
# ## Where does it look?
#
# These are its weights while it reads. A row is the character that asks, a column the one it reads
# from. The upper triangle is empty: nobody sees the future. The four heads differ, though nobody
# told them to; often one of them looks at the character just before.

# %%
piece = "the return value"
with mg.no_grad():
    weights = model.attention.weights(model.norm1(model.embed(vocabulary.encode(piece)[None])))
viz.heatmap(weights[0], piece)

# %% [markdown]
# ## Your turn
#
# The first op of the model is `table[ids]`: it picks rows. Which rows get a gradient, and what
# happens to one that is picked twice, as most letters are? You know the rule from notebook 1. But
# NumPy has a trap here, and gradcheck will tell you if you are in it.


# %% tags=["exercise"]
def embedding(table, ids):
    y = table[ids]

    def vjp_table(grad_y):
        pass  # your lines

    return y, (vjp_table, None)


# %% tags=["check"]
solved = check_op(embedding, np.random.default_rng(0).normal(size=(5, 3)), np.array([2, 0, 2]))

# %% [markdown] tags=["solution"]
# <details><summary>The solution</summary>
#
# ```python
# def embedding(table, ids):
#     y = table[ids]
#
#     def vjp_table(grad_y):
#         grad = np.zeros_like(table)
#         np.add.at(grad, ids, grad_y)
#         return grad
#
#     return y, (vjp_table, None)
# ```
#
# </details>
#
# **Read on:** `minigrad/nn/transformer.py` has the same block with more of them. Next: [6 ·
# Looking inside](6_looking_inside.py).
