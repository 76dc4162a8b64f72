"""Mutants that survive gradcheck, though it has no hole: by reason, each as mutants.py prints it."""

EQUIVALENT: dict[str, list[str]] = {
    "the same for every finite gradient, and gradcheck's cotangents are finite; keeps nan and inf that arrive at a "
    "masked place from spreading (test_gradients_at_masked_places.py)": [
        "ops.attention.attention.vjp_qkv: np.where(attending, to_heads(grad_y, n_heads), 0) -> "
        "to_heads(grad_y, n_heads)",
        "ops.tiled_attention.tiled_attention.vjp_qkv: np.where(attending, grad_y, 0) -> grad_y",
        "fast.attention.attention_in_blocks.vjp_qkv: np.where(attending, grad_y, 0) -> grad_y",
        "fast.attention.tiled_attention_in_place.vjp_qkv: np.where(attending, g, 0) -> g",
        "ops.normalizers.sum_normalize.vjp_x: np.where(allowed, grad_y, 0) -> grad_y",
        "ops.normalizers.sparsemax.vjp_x: np.where(support == 0, 0, grad_y) -> grad_y",
        "ops.normalizers.entmax15.vjp_x: np.where(u > 0, grad_y, 0) -> grad_y",
    ],
    "differs only where the gradient is 0 and a logarithm −∞: 0 · (−∞) is 0 here": [
        "ops.softmax.cross_entropy_of.vjp_probabilities: np.where(g == 0, 0, log_softmax_x) -> log_softmax_x",
    ],
    "differs only at 0, where there is no derivative to compare with: a convention (test_ties_and_kinks.py)": [
        "ops.elementwise.pow.vjp_a: np.where(b == 0, 0, b * np.power(a, b - 1)) -> b * np.power(a, b - 1)",
        "ops.elementwise.pow.vjp_b: np.where(a == 0, 0, grad_y * y * np.log(a)) -> grad_y * y * np.log(a)",
        "ops.elementwise.abs.vjp_x: grad_y * np.sign(x) -> grad_y / np.sign(x)",
    ],
    "g is 0 already where the support is": ["ops.normalizers.sparsemax.vjp_x: support * g -> g"],
}
