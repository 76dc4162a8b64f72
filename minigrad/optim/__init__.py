"""Optimizers: from gradients to better parameters.

rules       SGD, Adam and AdamW as the papers print them, on one parameter: read this first
flat        the optimizers: they own the memory of their parameters and run a rule over all of it
arguments   which settings and parameters an optimizer takes
schedules   the learning rate over time, and clipping
"""

from minigrad.optim.flat import SGD as SGD
from minigrad.optim.flat import Adam as Adam
from minigrad.optim.flat import AdamW as AdamW
from minigrad.optim.flat import Optimizer as Optimizer
from minigrad.optim.schedules import clip_grad_norm as clip_grad_norm
from minigrad.optim.schedules import cosine_schedule as cosine_schedule
