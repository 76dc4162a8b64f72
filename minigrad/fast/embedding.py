"""The gradient of an embedding's table: np.add.at as on the page, but number by number."""

import math

import numpy as np

from minigrad.fast.switch import faster
from minigrad.ops.shape import check_ids, embedding


@faster(embedding)
def embedding_number_by_number(table, ids):
    """np.add.at is slow at adding rows, and fast at adding single numbers. So the table becomes one long row, in which
    number c of row i stands at place i·d + c. Of the ways tried, this one is good at every size: a one-hot product
    costs n times as much, and sorting the ids moves every gradient once more (tests/benchmarks/embedding.py).
    """
    check_ids(table, ids)
    table_shape, dtype, d = table.shape, table.dtype, math.prod(table.shape[1:])

    def vjp_table(grad_y):
        places = ids.reshape(-1, 1).astype(np.intp) * d + np.arange(d)
        grad_table = np.zeros(math.prod(table_shape), dtype)
        np.add.at(grad_table, places.reshape(-1), grad_y.reshape(-1))
        return grad_table.reshape(table_shape)

    return table[ids], (vjp_table, None)
