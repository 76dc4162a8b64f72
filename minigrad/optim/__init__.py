"""Optimizers, schedules and clipping: from gradients to better parameters."""

from minigrad.optim.flat import SGD as SGD
from minigrad.optim.flat import Adam as Adam
from minigrad.optim.flat import AdamW as AdamW
from minigrad.optim.flat import Optimizer as Optimizer
from minigrad.optim.flat import clip_grad_norm as clip_grad_norm
from minigrad.optim.flat import cosine_schedule as cosine_schedule
