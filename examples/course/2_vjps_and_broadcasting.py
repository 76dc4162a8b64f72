# %% [markdown]
# # 2 · VJPs and broadcasting
#
# In the first notebook every number had its own slopes. An array has many numbers, and so has what
# is computed from it. How many slopes are there then, and do we need them all? The answer is the
# reason why training is affordable.

# %% tags=["setup"]
import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from course import check_op

# %% [markdown]
# ## All slopes at once: the Jacobian
#
# If x has 6 numbers and y = f(x) has 6 numbers, there are 36 slopes: one for each pair, ∂yᵢ/∂xⱼ.
# The matrix that holds them is the **Jacobian**. We can measure it as we measured a slope before:
# move one xⱼ, and see how all of y moves.


# %%
def jacobian(f, x, nudge=1e-6):
    columns = []
    for j in range(x.size):
        step = np.zeros_like(x)
        step[j] = nudge
        columns.append(np.ravel(f(x + step) - f(x - step)) / (2 * nudge))
    return np.stack(columns, axis=1)  # row i: how y_i depends on each x_j


x = np.array([0.5, -0.3, 1.0, 0.1, -0.8, 0.7])
functions = {
    "np.exp(x)": np.exp,
    "x.sum()": np.sum,
    "np.cumsum(x)": np.cumsum,
    "x[[0, 0, 2]]": lambda x: x[[0, 0, 2]],
    "softmax(x)": lambda x: np.exp(x) / np.exp(x).sum(),
}
_, axes = plt.subplots(1, len(functions), figsize=(9, 2))
for axis, (name, f) in zip(axes, functions.items(), strict=True):
    J = jacobian(f, x)
    axis.imshow(J, cmap="RdBu", vmin=-np.abs(J).max(), vmax=np.abs(J).max())
    axis.set(title=name, xticks=[], yticks=[], xlabel="x", ylabel="y")
plt.show()

# %% [markdown]
# Look at each picture for a moment. White is 0, blue is positive, red is negative.
#
# - `exp` works on each number alone, so only the diagonal is filled.
# - `sum` has one row: its only result depends on all inputs, on each with slope 1.
# - `cumsum` fills a triangle: its third result, for instance, depends on the first three inputs.
# - Indexing copies: two results are x₀, the third is x₂, and nobody uses x₁.
# - `softmax` is full: every weight depends on every score. That is the next notebook.
#
# ## Why nobody builds it
#
# Take a layer with a million numbers in and a million out. Its Jacobian has 10¹² entries: 4
# terabytes in float32. But we never need the matrix. Backward arrives with **one number for each
# y**, the gradient of the loss with respect to y; call it g. The chain rule wants one number for
# each x:
#
#     grad_xⱼ = Σᵢ gᵢ ∂yᵢ/∂xⱼ            a vector times the Jacobian
#
# This is the **vector-Jacobian product**, the VJP. The art of every op is to write that product
# without the matrix. For `exp` it is `g * y`. For `cumsum`: x₂ is in y₂, y₃, y₄ and so on, so its
# gradient is the sum of g from there to the end.

# %%
g = np.array([1.0, 2.0, -1.0, 0.5, 0.0, 3.0])
print("exp,    with the matrix   ", (g @ jacobian(np.exp, x)).round(3))
print("exp,    without the matrix", (g * np.exp(x)).round(3))
print("cumsum, with the matrix   ", (g @ jacobian(np.cumsum, x)).round(3))
print("cumsum, without the matrix", np.cumsum(g[::-1])[::-1].round(3))

# %% [markdown]
# ## An op is a value and its VJP
#
# This is all it takes to teach minigrad an op of your own. Then `gradcheck` moves each number a
# little, as we did, and compares.


# %%
@mg.op
def running_sum(x):
    def vjp_x(grad_y):
        return np.cumsum(grad_y[::-1])[::-1]

    return np.cumsum(x), vjp_x


print(mg.gradcheck(running_sum, x))

# %% [markdown]
# What does it say if we forget to start from the other end? That is an easy mistake, and the
# result even looks plausible.


# %%
@mg.op
def hasty_running_sum(x):
    def vjp_x(grad_y):
        return np.cumsum(grad_y)

    return np.cumsum(x), vjp_x


print(mg.gradcheck(hasty_running_sum, x, raise_error=False))

# %% [markdown]
# ## Copying forward is summing backward
#
# NumPy lets you multiply an array of shape (2, 3) by one of shape (3,). It *broadcasts*: it uses
# each of the three numbers twice, once in each row, as if it had made copies.

# %%
features, scale = np.arange(1.0, 7.0).reshape(2, 3), np.array([1.0, 10.0, 100.0])
arrays = {
    "scale (3,)": scale[None],
    "as it is used (2, 3)": np.tile(scale, (2, 1)),
    "features * scale": features * scale,
}
_, axes = plt.subplots(1, 3, figsize=(8, 1.6))
for axis, (name, array) in zip(axes, arrays.items(), strict=True):
    axis.imshow(np.log10(array), cmap="Blues", vmin=-0.5, vmax=4)
    axis.set(title=name, xticks=[], yticks=[])
    for (row, column), number in np.ndenumerate(array):
        axis.text(column, row, f"{number:g}", ha="center", va="center")
plt.show()

# %% [markdown]
# Remember the rule of the first notebook: where a number is used twice, what comes back is added
# up. The copies are uses. So the gradient of the copies has shape (2, 3), and `scale` gets its sum
# over the rows. Here g is 1 everywhere:

# %%
s = mg.Tensor(scale, requires_grad=True)
(features * s).sum().backward()
print("gradient of the copies:\n", features)
print("gradient of scale:     ", s.grad)

# %% [markdown]
# ## Your turn
#
# Write `unbroadcast`. It is given `grad`, the gradient of the copies, and `x`, the array before it
# was copied; it returns the gradient of `x`, in the shape of `x`. NumPy copies in two ways, and
# you need both: it puts new axes **in front**, and it stretches axes of **length 1**.


# %% tags=["exercise"]
def unbroadcast(grad, x):
    pass  # your lines


# %% tags=["check"]
def product(a, b):
    return a * b, (lambda g: unbroadcast(g * b, a), lambda g: unbroadcast(g * a, b))


rng = np.random.default_rng(0)
arrays = [rng.normal(size=shape) for shape in [(3,), (2, 1), (1, 3), ()]]
a = rng.normal(size=(2, 3))
solved = all(check_op(product, a, b, hint="unbroadcast") for b in arrays)

# %% [markdown] tags=["solution"]
# <details><summary>The solution</summary>
#
# ```python
# def unbroadcast(grad, x):
#     new = grad.ndim - x.ndim
#     copied = [axis for axis in range(grad.ndim) if axis < new or x.shape[axis - new] == 1]
#     return grad.sum(tuple(copied), keepdims=True).reshape(x.shape)
# ```
#
# </details>
#
# **Read on:** in `minigrad/engine.py` your function stands below `backward`: it is called once,
# for all ops. Next: [3 · Softmax and its gradient by hand](3_softmax_by_hand.py).
