"""minigrad"""

from minigrad.engine import Observer, Tensor, backward, no_grad, op, watch
from minigrad.ops.elementwise import *
