"""The textbook: every op, one page each, with its value, its derivation, and its vector-Jacobian products.

elementwise      add sub mul div neg pow exp log sqrt tanh sigmoid relu gelu abs maximum minimum where clip dropout
special          sin cos erf softplus
reduce           sum mean var prod cumsum max min logsumexp
shape            reshape transpose swapaxes broadcast_to astype getitem concat stack embedding
linear           matmul and einsum, and linear: x @ weight + bias in one node
softmax          softmax, log_softmax, entropy, cross_entropy
losses           binary_cross_entropy, mse_loss
compositions     what a few other ops make: squeeze expand_dims flatten split std norm silu tril argmax
normalizers      the other ways from scores to weights: hardmax, uniform, sum_normalize, sigmoid_normalize,
                 top_k_softmax, sparsemax, entmax15
layer_norm       layer_norm
attention        scaled dot-product attention in one node; attention_weights, with any normalizer
masks, heads     who may attend to whom; features cut into heads
tiled_attention  attention for long sequences, in memory that grows like their length
recurrent        gru: a whole sequence through a gated recurrent unit in one node

Some of them are there once more in fast/, written for speed. The figures in their `Numerics` are printed by
tests/benchmarks/numerics.py. Functions are not re-exported here, so that `ops.softmax` is always the module; `minigrad`
has them all by name.
"""
