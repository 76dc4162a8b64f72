// The normalizers, from scores x to weights y, as minigrad/ops/normalizers.py has them. Each returns y and its VJP:
// from g, the gradient of the loss with respect to y, to the gradient with respect to x. They are derived in that file.

const sum = (a) => a.reduce((total, b) => total + b, 0);
const dot = (a, b) => sum(a.map((ai, i) => ai * b[i]));
const oneHot = (n, i) => Array.from({ length: n }, (_, j) => (i === j ? 1 : 0));
const descending = (a) => [...a].sort((p, q) => q - p);

// yᵢ = exp(xᵢ) / Σⱼ exp(xⱼ)                              grad_xⱼ = yⱼ (gⱼ − Σᵢ gᵢ yᵢ)
function softmax(x) {
  const m = Math.max(...x);
  const e = x.map((xi) => Math.exp(xi - m));
  const s = sum(e);
  const y = e.map((ei) => ei / s);
  return [y, (g) => { const mean = dot(g, y); return y.map((yj, j) => yj * (g[j] - mean)); }];
}

// yᵢ = 1 if i = argmaxⱼ xⱼ else 0                        grad_x = 0
function hardmax(x) {
  const y = oneHot(x.length, x.indexOf(Math.max(...x)));
  return [y, (g) => g.map(() => 0)];
}

// Hard forward: hardmax's y. Soft backward: softmax's grad_x, which is not the derivative of this y.
function straightThrough(x) {
  const [y] = hardmax(x);
  const [, softVjp] = softmax(x);
  return [y, softVjp];
}

// yᵢ = xᵢ / s,  s = Σⱼ xⱼ                                grad_xⱼ = (gⱼ − Σᵢ gᵢ yᵢ) / s
function sumNormalize(x) {
  const s = sum(x);
  const y = x.map((xi) => xi / s);
  return [y, (g) => { const mean = dot(g, y); return g.map((gj) => (gj - mean) / s); }];
}

// yᵢ = σ(xᵢ) / Σⱼ σ(xⱼ)                                  grad_xⱼ = yⱼ (gⱼ − Σᵢ gᵢ yᵢ) (1 − σ(xⱼ))
// y is the softmax of ln σ(x) = −ln(1 + exp(−x)), and is computed so, since all σ may round to 0 at once.
function sigmoidNormalize(x) {
  const softplus = (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z))); // ln(1 + exp(z))
  const [y, softVjp] = softmax(x.map((xi) => -softplus(-xi)));
  return [y, (g) => softVjp(g).map((d, j) => d * Math.exp(-softplus(x[j])))];
}

// Softmax over the k largest, 0 for the rest             grad_xⱼ = yⱼ (gⱼ − Σᵢ gᵢ yᵢ)
function topK(x, k = 2) {
  const kept = x.map((_, i) => i).sort((i, j) => x[j] - x[i]).slice(0, k);
  return softmax(x.map((xi, i) => (kept.includes(i) ? xi : -Infinity)));
}

// yᵢ = max(xᵢ − τ, 0), with the τ that makes Σ yᵢ = 1     grad_xⱼ = gⱼ − mean_S(g) on the support S, else 0
function sparsemax(x) {
  const m = Math.max(...x);
  const z = x.map((xi) => Math.max(xi - m, -1));
  const sorted = descending(z);
  let total = 0, tau;
  sorted.forEach((zk, i) => {
    total += zk;
    const tauK = (total - 1) / (i + 1);
    if (zk > tauK) tau = tauK;
  });
  const y = z.map((zi) => Math.max(zi - tau, 0));
  const support = y.map(Math.sign);
  return [y, (g) => {
    const mean = dot(support, g) / sum(support);
    return g.map((gj, j) => (support[j] ? gj - mean : 0));
  }];
}

// yᵢ = uᵢ²,  uᵢ = max(xᵢ/2 − τ, 0), with the τ that makes Σ uᵢ² = 1     grad_xⱼ = uⱼ (gⱼ − Σᵢ uᵢ gᵢ / Σᵢ uᵢ)
function entmax15(x) {
  const m = Math.max(...x);
  const z = x.map((xi) => Math.max((xi - m) / 2, -1));
  const sorted = descending(z);
  let total = 0, squares = 0, tau;
  sorted.forEach((zk, i) => {
    const k = i + 1;
    total += zk;
    squares += zk * zk;
    const mean = total / k, deviations = squares - k * mean * mean;
    const tauK = mean - Math.sqrt(Math.max((1 - deviations) / k, 0));
    if (zk > tauK) tau = tauK;
  });
  const u = z.map((zi) => Math.max(zi - tau, 0));
  return [u.map((ui) => ui * ui), (g) => {
    const mean = dot(u, g) / sum(u);
    return u.map((uj, j) => uj * (g[j] - mean));
  }];
}

// In the first row from soft to hard; in the second what else has been tried. `op` is the name in minigrad,
// blind means that the gradient is 0 everywhere, and an estimator's is, on purpose, not the derivative.
const NORMALIZERS = [
  { op: "softmax", title: "softmax", f: softmax, formula: "exp xᵢ / Σⱼ exp xⱼ" },
  { op: "entmax15", title: "1.5-entmax", f: entmax15, formula: "max(xᵢ/2 − τ, 0)²" },
  { op: "sparsemax", title: "sparsemax", f: sparsemax, formula: "max(xᵢ − τ, 0)" },
  { op: "hardmax", title: "hardmax (argmax)", f: hardmax, formula: "1 at the largest, else 0", blind: true },
  { op: "straight_through", title: "straight-through", f: straightThrough, formula: "forward hardmax, back softmax",
    estimator: true },
  { op: "top_k_softmax", title: "top-2 softmax", f: topK, formula: "softmax of the 2 largest" },
  { op: "sigmoid_normalize", title: "sigmoid, normalized", f: sigmoidNormalize, formula: "σ(xᵢ) / Σⱼ σ(xⱼ)" },
  { op: "sum_normalize", title: "simple normalization", f: sumNormalize, formula: "xᵢ / Σⱼ xⱼ" },
];
const normalizer = (op) => NORMALIZERS.find((n) => n.op === op);
