"""The gradient of an embedding's table, without np.add.at."""

import math

import numpy as np

from minigrad.fast.switch import faster
from minigrad.ops.shape import check_ids, embedding


@faster(embedding)
def embedding_by_product(table, ids):
    """For a small table the product with one-hot rows, grad_table = Oᵀ @ grad_y, is the fastest way NumPy has: 116 µs
    for 768 ids and 65 rows of 128, against 593 for np.add.at. For a large table, gradients are sorted by row and summed
    run by run.
    """
    check_ids(table, ids)
    n, d = len(table), math.prod(table.shape[1:])
    flat = ids.reshape(-1)
    table_shape, dtype = table.shape, table.dtype

    def vjp_table(grad_y):
        rows = grad_y.reshape(len(flat), d)
        if n <= 1024 and np.isfinite(rows).all():  # 0 · inf would be nan, and in every row
            one_hot_T = np.arange(n)[:, None] == flat
            return (one_hot_T.astype(dtype) @ rows).reshape(table_shape)
        grad_table = np.zeros((n, d), dtype)
        if len(flat):
            order = np.argsort(flat, kind="stable")
            used, starts = np.unique(flat[order], return_index=True)
            grad_table[used] = np.add.reduceat(rows[order], starts)
        return grad_table.reshape(table_shape)

    return table[ids], (vjp_table, None)
