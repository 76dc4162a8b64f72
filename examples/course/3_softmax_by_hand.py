# %% [markdown]
# # 3 · Softmax and its gradient by hand
#
# Attention has scores and wants weights: how much of each word to take. Weights should be positive
# and sum to 1. Softmax turns the ones into the others. In this notebook we look at what it does,
# and derive its gradient without skipping a line.

# %% tags=["setup"]
import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from course import check_op

# %% [markdown]
# ## From scores to weights
#
#     yᵢ = exp(xᵢ)/s        s = Σⱼ exp(xⱼ)
#
# The exponential makes every score positive, the division makes them sum to 1.

# %%
scores = np.array([4.0, 2.0, 1.0])
y = np.exp(scores) / np.exp(scores).sum()
print(f"scores {scores}   weights {y.round(3)}   sum {y.sum():.3f}")

# %% [markdown]
# Now move one score and watch all three weights. The largest score doesn't win outright: its share
# grows smoothly, and the others make room. There is no corner anywhere, so every weight has a
# slope along every score. Compare the dotted line: it is *argmax*, which gives everything to the
# largest. It is flat, then jumps, then is flat again.

# %%
moved = np.linspace(-3, 9, 200)
rows = np.stack([moved, np.full(200, 2.0), np.full(200, 1.0)], axis=1)
names = ["weight of the moved score", "of the score 2", "of the score 1"]
plt.plot(moved, mg.softmax(rows).numpy(), lw=2, label=names)
plt.plot(moved, mg.hardmax(rows).numpy()[:, 0], "k:", lw=1.5, label="moved score, by argmax")
plt.xlabel("the score that is moved")
plt.legend()
plt.show()

# %% [markdown]
# ## Only differences count
#
# Add 1,000 to all scores: each exponential is multiplied by e¹⁰⁰⁰, the sum as well, and the factor
# cancels. The weights stay. (The computer disagrees, unless we help: e¹⁰⁰⁰ is too large a number.
# So every softmax subtracts the largest score first, which changes nothing and keeps all exponents
# at most 0.)

# %%
with np.errstate(over="ignore", invalid="ignore"):
    print("as written:    ", np.exp(scores + 1000) / np.exp(scores + 1000).sum())
e = np.exp(scores + 1000 - (scores + 1000).max())
print("largest at 0:  ", (e / e.sum()).round(3))

# %% [markdown]
# ## The gradient, line by line
#
# How does the weight yᵢ depend on the score xⱼ? There are two cases, by the quotient rule.
#
# The score is the weight's own, i = j. Then xⱼ is in the numerator and in s, and both have slope
# exp(xⱼ):
#
#     ∂yⱼ/∂xⱼ = (exp(xⱼ) s − exp(xⱼ) exp(xⱼ))/s² = yⱼ − yⱼ yⱼ
#
# The score is another's, i ≠ j. Then xⱼ is only in s:
#
#     ∂yᵢ/∂xⱼ = (0 · s − exp(xᵢ) exp(xⱼ))/s² = −yᵢ yⱼ
#
# With δᵢⱼ, which is 1 for i = j and else 0, both cases are one line: **∂yᵢ/∂xⱼ = yᵢ (δᵢⱼ − yⱼ)**.
# Believe it only after it is measured:

# %%
J = np.diag(y) - np.outer(y, y)
nudges = 1e-6 * np.eye(3)  # row j moves score j
differences = [mg.softmax(scores + nudge) - mg.softmax(scores - nudge) for nudge in nudges]
measured = np.stack([d.numpy() for d in differences], axis=1) / 2e-6
_, axes = plt.subplots(1, 2, figsize=(6, 2.6))
titles = "y_i (δ_ij − y_j)", "measured"
for axis, matrix, title in zip(axes, (J, measured), titles, strict=True):
    axis.imshow(matrix, cmap="RdBu", vmin=-0.2, vmax=0.2)
    axis.set(title=title, xticks=range(3), yticks=range(3), xlabel="score j", ylabel="weight i")
    for (i, j), slope in np.ndenumerate(matrix):
        axis.text(j, i, f"{slope:.3f}", ha="center", va="center")
plt.show()

# %% [markdown]
# Blue is positive: a score pushes its own weight up. Red is negative: it pushes the others down.
# Each column sums to 0, because the weights always sum to 1: what one gains, the others lose.
#
# ## From the matrix to one line
#
# A VJP must not build this matrix. Put it into the sum of the last notebook:
#
#     grad_xⱼ = Σᵢ gᵢ yᵢ (δᵢⱼ − yⱼ)
#             = gⱼ yⱼ − yⱼ Σᵢ gᵢ yᵢ            δ picks one term out of the sum
#             = yⱼ (gⱼ − Σᵢ gᵢ yᵢ)
#
# Read it aloud. Σᵢ gᵢ yᵢ is an average: of all that comes back, each with its weight. A score
# hears how much what came back to its own weight, gⱼ, differs from that average, and it hears it
# only as loudly as its weight yⱼ is large.


# %%
def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    y = e / e.sum(-1, keepdims=True)

    def vjp_x(grad_y):
        return y * (grad_y - (grad_y * y).sum(-1, keepdims=True))

    return y, vjp_x


solved = check_op(softmax, np.random.default_rng(0).normal(size=(2, 4)))

# %% [markdown]
# What if g is 1 everywhere? That asks for the gradient of the weights' sum. It is 1 whatever the
# scores are, so the gradient must be 0; and a VJP that always returns 0 would look right. So
# gradcheck draws g at random.

# %%
print("g = 1:     ", softmax(scores)[1](np.ones(3)).round(12))
print("g random:  ", softmax(scores)[1](np.random.default_rng(0).normal(size=3)).round(3))

# %% [markdown]
# ## The price of being sure
#
# The factor yⱼ has a consequence. Multiply all scores by 10 and softmax is almost argmax: one
# weight near 1, the others near 0. Then each entry of the Jacobian is near 0, and nothing comes
# back. Learning wants softmax a little unsure.

# %%
sharpness = np.geomspace(0.01, 100, 200)
sizes = []
for factor in sharpness:
    y, vjp = softmax(factor * scores)
    sizes.append(np.abs(np.diag(y) - np.outer(y, y)).max())
plt.loglog(sharpness, np.maximum(sizes, 1e-16), lw=2)
plt.gca().set(xlabel="what the scores are multiplied by", ylabel="largest slope")
plt.ylim(1e-12, 1)
plt.show()

# %% [markdown]
# ## Your turn
#
# A model that predicts the next word gives each word a score, a *logit*, and is told which one was
# right. Its loss is −ln of the weight that softmax gives to the right one: **cross-entropy**.
# Going back through the logarithm and then through softmax works, but as one function the gradient
# is far simpler, and it is the most used gradient there is. Find it: start from lossₜ = ln Σⱼ
# exp(xⱼ) − xₜ.


# %% tags=["exercise"]
def cross_entropy(logits, targets):
    rows = np.arange(len(targets))
    weights = mg.softmax(logits).numpy()
    y = -np.log(weights[rows, targets]).mean()

    def vjp_logits(grad_y):
        pass  # your lines

    return y, (vjp_logits, None)


# %% tags=["check"]
logits = np.random.default_rng(0).normal(size=(4, 3))
solved = check_op(cross_entropy, logits, np.array([0, 2, 1, 2]))

# %% [markdown] tags=["solution"]
# <details><summary>The solution</summary>
#
# What was predicted, minus what was right:
#
# ```python
# def cross_entropy(logits, targets):
#     rows = np.arange(len(targets))
#     weights = mg.softmax(logits).numpy()
#     y = -np.log(weights[rows, targets]).mean()
#
#     def vjp_logits(grad_y):
#         error = weights.copy()
#         error[rows, targets] -= 1
#         return grad_y * error / len(targets)
#
#     return y, (vjp_logits, None)
# ```
#
# </details>
#
# **Read on:** `minigrad/ops/softmax.py` has both derivations beside the code. Next: [4 ·
# Attention](4_attention.py).
