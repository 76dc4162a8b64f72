"""Every op, one page each: value, derivation, vector-Jacobian products.

elementwise      add sub mul div neg pow exp log sqrt tanh sigmoid relu gelu abs maximum minimum where clip dropout
reduce           sum mean var max min logsumexp
shape            reshape transpose swapaxes broadcast_to getitem concat stack embedding
linear           matmul, and linear: x @ weight + bias in one node
softmax          softmax, log_softmax, cross_entropy
alternatives     the other ways from scores to weights: hardmax, uniform, sum_normalize, sigmoid_normalize,
                 top_k_softmax, sparsemax, entmax15
normalize        layer_norm
recurrent        gru: a whole sequence through a gated recurrent unit in one node
attention        scaled dot-product attention in one node; attention_weights, for looking
tiled_attention  the same for long sequences, in memory that grows like their length
cases            the inputs on which each op is checked

The figures in their `Numerics` are printed by tests/benchmarks/numerics.py.

Functions are not re-exported here, so that `ops.softmax` is always the module; `minigrad` has them all by name.
"""
