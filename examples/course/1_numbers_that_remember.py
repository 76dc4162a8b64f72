# %% [markdown]
# # 1 · Numbers that remember
#
# At the end of this page a rope will find out by itself how ropes hang. Nobody will have told it:
# no formula for the curve, no forces, no physics beyond "falling saves energy". What moves it is
# the machine that also trains neural networks, and you are about to build that machine in 40
# lines.
#
# The machine answers one question: **if I change this number a little, how does that number
# change?**

# %% tags=["setup"]
import itertools

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from course import catenary, check_op, milliseconds
from minigrad import viz

# %% [markdown]
# ## A number with a past
#
# An ordinary number forgets where it came from. After `y = a * b + a`, Python knows that `y` is 8,
# and no more. Ours keeps two things besides its value:
#
# - its **parents**, the numbers it was computed from;
# - for each parent a **slope**: by how much does the result grow for each unit the parent grows?
#
# If `a` grows by 1, then `a + b` grows by 1, and `a * b` grows by `b`. That is all the calculus we
# need today.


# %%
class Value:
    births = itertools.count()

    def __init__(self, data, parents=(), slopes=()):
        self.data, self.parents, self.slopes = data, parents, slopes
        self.born = next(Value.births)  # parents are always older than their children
        self.grad = 0.0

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __sub__(self, other):
        return self + other * -1.0


a, b = Value(2.0), Value(3.0)
y = a * b + a
print(f"y is {y.data}, and remembers that it came from {[parent.data for parent in y.parents]}")

# %% [markdown]
# ## Walking back
#
# Now we ask: how does `y` depend on `a`? We start at `y` and walk towards the past, from the
# youngest number to the oldest. Each number passes on to its parents what it has received, times
# the slope.
#
# There is one rule to remember, and it is the heart of the matter. `a` was used **twice**, and
# each use passes something back. What arrives is **added up**, since a change of `a` reaches `y`
# by both ways.


# %%
def backward(y):
    family, stack = {y}, [y]
    while stack:  # find everything that y came from
        for parent in stack.pop().parents:
            if parent not in family:
                family.add(parent)
                stack.append(parent)
    for value in family:
        value.grad = 0.0
    y.grad = 1.0  # if y grows by 1, y grows by 1
    for value in sorted(family, key=lambda value: value.born, reverse=True):
        for parent, slope in zip(value.parents, value.slopes, strict=True):
            parent.grad += slope * value.grad  # added up: += and not =


backward(y)
print(f"a.grad = {a.grad}, b.grad = {b.grad}")

# %% [markdown]
# The claim: nudge `a`, and `y` moves four times as far, three from `a * b` and one from `+ a`.
# Don't believe it. Try it:

# %%
nudged = Value(2.001) * b + Value(2.001)
print(f"a moved by 0.001, and y by {nudged.data - y.data:.3f}")

# %% [markdown]
# That's the whole idea: it is called *reverse-mode automatic differentiation*, or backpropagation.
# One walk back gives the slope of `y` along **every** number it came from, however many there are.
#
# ## Now let a rope hang
#
# Twelve links join eleven beads, between two nails. A rope wants two things, and we write both as
# energy: each bead wants to be low, and each link wants to keep its length. We only need `+`, `-`
# and `*`.

# %%
LINK = 2.6 / 12  # the length of a link; the nails are 2 apart


def energy(xs, ys):
    total = Value(0.0)
    for height in ys[1:-1]:
        total = total + height
    for i in range(len(xs) - 1):
        dx, dy = xs[i + 1] - xs[i], ys[i + 1] - ys[i]
        stretch = (dx * dx + dy * dy) * (1 / LINK**2) - 1.0  # 0 where the link has its length
        total = total + stretch * stretch * 10.0
    return total


# %% [markdown]
# We hold the rope crooked and let go. The gradient says which way the energy grows, so each bead
# is pushed the other way. It keeps most of its speed from one moment to the next, as things do,
# and loses a little, or the rope would swing for ever.

# %%
corners = [-1, 0.845, 1], [0, -0.631, 0]  # a nail, a hand, a nail
xs, ys = ([Value(c) for c in np.interp(range(13), [0, 9, 12], axis)] for axis in corners)
speed = dict.fromkeys(xs[1:-1] + ys[1:-1], 0.0)  # all but the nails
for step in range(601):
    if step in (0, 50, 100, 600):
        x, height = [value.data for value in xs], [value.data for value in ys]
        shade = plt.cm.Blues(0.3 + 0.6 * (step / 600) ** 0.5)
        plt.plot(x, height, "o-", color=shade, label=f"after {step} steps", ms=4)
    backward(energy(xs, ys))
    for value in speed:
        speed[value] = 0.95 * speed[value] - 0.0002 * value.grad
        value.data += speed[value]

plt.plot(*catenary(x, height), "--", color="crimson", lw=1, label="a cosh, found in 1691")
plt.gca().set_aspect("equal")
plt.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# The dashed curve is the one that Huygens, Leibniz and Johann Bernoulli found in 1691, when this
# was a famous riddle. Our beads know nothing of it. They only ever asked: *if I moved a little,
# would the energy fall?*
#
# Now change the words. Call the energy a **loss**, the beads **parameters** and the pushing
# **training**. You have just trained something with 22 parameters. A language model does the same
# with more of them.
#
# ## The same in minigrad
#
# In minigrad an object holds a whole array instead of one number. The idea stays: parents, slopes,
# a walk back from young to old. The loops over beads and links become lines of arrays.


# %%
def energy_of_arrays(rope):
    links = ((rope[1:] - rope[:-1]) ** 2).sum(axis=-1) / LINK**2 - 1
    return rope[1:-1, 1].sum() + 10 * (links**2).sum()


for n in (11, 1000):
    points = np.random.default_rng(0).normal(size=(n + 2, 2))
    xs, ys = ([Value(number) for number in column] for column in points.T)
    rope = mg.Tensor(points, requires_grad=True)
    by_numbers = milliseconds(lambda xs=xs, ys=ys: backward(energy(xs, ys)))
    by_arrays = milliseconds(lambda rope=rope: energy_of_arrays(rope).backward())
    print(f"{n:4} beads: numbers {by_numbers:6.1f} ms, arrays {by_arrays:4.1f} ms")

# %% [markdown]
# For a few numbers little is gained, since each op has its price, however small its arrays. For
# thousands it is what makes training possible.
#
# And minigrad can show what it remembers. Here is `a * b + a` again. Each box has its value and,
# after ∇, its gradient. Two arrows leave `a`, and its 4 is the sum of what came back along both.

# %%
a = mg.Tensor(2.0, requires_grad=True, name="a")
b = mg.Tensor(3.0, requires_grad=True, name="b")
with viz.record() as tape:
    y = a * b + a
    y.backward()
viz.graph(y, tape=tape)

# %% [markdown]
# ## Your turn
#
# An op in minigrad is a function that returns two things: the value, and a function that takes the
# gradient of the output, `grad_y`, and returns the gradient of the input. For `exp`, whose slope
# is the value itself, it returns `grad_y * y`.
#
# Write it for tanh. Its slope can be written in `y` alone. Then run the cell below: it moves every
# input a little, as you did above, and compares.


# %% tags=["exercise"]
def tanh(x):
    y = np.tanh(x)

    def vjp_x(grad_y):
        pass  # your line

    return y, vjp_x


# %% tags=["check"]
solved = check_op(tanh, np.array([-2.0, -0.5, 0.1, 3.0]))

# %% [markdown] tags=["solution"]
# <details><summary>The solution</summary>
#
# ```python
# def tanh(x):
#     y = np.tanh(x)
#
#     def vjp_x(grad_y):
#         return grad_y * (1 - y**2)
#
#     return y, vjp_x
# ```
#
# </details>
#
# **Read on:** `minigrad/engine.py` is this page for arrays; its `backward` is ours, line by line.
# Next: [2 · VJPs and broadcasting](2_vjps_and_broadcasting.py).
