"""The names of modes, from where they stand today."""

from minigrad.engine import Observer as Observer
from minigrad.engine import _state as _state
from minigrad.engine import current_scope as current_scope
from minigrad.engine import in_scope as in_scope
from minigrad.engine import no_grad as no_grad
from minigrad.engine import watch as watch

state = _state
