"""The engine room: some ops once more, written for speed.

The pages in ops/ are to be read: their code is the last line of the derivation. A kernel here computes the same with
blocks that fit the cache, fewer passes over memory and unusual layouts. `@faster(op)` registers it, and from then on
the op runs it. `with textbook():` runs the pages instead. tests/fast holds every kernel to its page: values and
gradients, over all cases, in float32 and float64. `python -m minigrad` prints what each one gains.

    switch         faster and textbook
    rows           sums over rows as products with ones
    elementwise    gelu, by slices that fit the cache; erf from a table
    linear         all rows in one product, the bias in place
    layer_norm     means and dots of rows as products
    embedding      gradients of a table added number by number
    cross_entropy  softmax minus one-hot, in place
    attention      blocks of queries by keys, kept keys-first; the same for tiled_attention
    gru            the steps of a sequence in place
"""

from minigrad.fast import attention as attention
from minigrad.fast import cross_entropy as cross_entropy
from minigrad.fast import elementwise as elementwise
from minigrad.fast import embedding as embedding
from minigrad.fast import gru as gru
from minigrad.fast import layer_norm as layer_norm
from minigrad.fast import linear as linear
from minigrad.fast.switch import faster as faster
from minigrad.fast.switch import textbook as textbook
