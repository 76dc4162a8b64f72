// From a gradient to a step: the temperature, the loss, the check against finite differences, the way downhill.

// The weights are normalize(scores / temperature), so by the chain rule what comes back is divided by it, too.
function weigh(n, scores, temperature) {
  const [weights, vjp] = n.f(scores.map((s) => s / temperature));
  return [weights, (g) => vjp(g).map((d) => d / temperature)];
}

// More weight on a word:  L = 1 − y_word                 g = −1 at that word, else 0
const wantsWord = (word) => (y) => [1 - y[word], y.map((_, i) => (i === word ? -1 : 0))];

// A target value:  L = (o − target)²,  o = Σᵢ yᵢ vᵢ       gᵢ = 2 (o − target) vᵢ
const wantsValue = (values, target) => (y) => {
  const miss = dot(y, values) - target;
  return [miss * miss, values.map((v) => 2 * miss * v)];
};

// One normalizer at one point. A task is { temperature, loss }.
function look(n, scores, { temperature, loss }) {
  const [weights, vjp] = weigh(n, scores, temperature);
  const [value, gradWeights] = loss(weights);
  return { weights, loss: value, gradWeights, gradient: vjp(gradWeights) };
}

// ∂yᵢ/∂xⱼ in row i and column j: row i is what the VJP makes of a gradient that is 1 at yᵢ alone.
function jacobian(n, scores, temperature) {
  const [, vjp] = weigh(n, scores, temperature);
  return scores.map((_, i) => vjp(oneHot(scores.length, i)));
}

// A step of plain gradient descent, as minigrad's optim.SGD takes it: against the gradient, downhill.
function stepDown(parameters, gradient, rate) {
  return gradient.every(Number.isFinite) ? parameters.map((p, i) => p - rate * gradient[i]) : parameters;
}

// Where `steps` steps lead from `start`, with every point on the way; gradientAt(p) is the gradient of the loss at p.
function descend(start, gradientAt, rate, steps) {
  const way = [start];
  for (let i = 0; i < steps; i++) way.push(stepDown(way[i], gradientAt(way[i]), rate));
  return way;
}

// Attention's scores in the plane: qᵀkᵢ / √2, since the query and the keys have two numbers each.
const planeScores = (query, keys) => keys.map((k) => dot(query, k) / Math.SQRT2);
const queryGradient = (gradScores, keys) =>
  [0, 1].map((axis) => dot(gradScores, keys.map((k) => k[axis])) / Math.SQRT2);

// Central differences of the loss, (L(x + h) − L(x − h)) / 2h, beside the gradient. The verdict is "ok", "differs", or
// "kink" where the slopes to the left and to the right of a score do not come closer when h is halved.
function finiteDifferences(n, scores, task) {
  const lossAt = (x) => look(n, x, task).loss;
  const { loss, gradient } = look(n, scores, task);
  const typical = Math.sqrt(dot(scores, scores) / scores.length) || 1;
  const at = (j, d) => lossAt(scores.map((s, i) => (i === j ? s + d : s)));
  const steps = scores.map((s) => Math.cbrt(Number.EPSILON) * Math.max(Math.abs(s), typical));
  const errorOf = (j, h) => Math.abs((at(j, h) - at(j, -h)) / (2 * h) - gradient[j]);
  const errors = steps.map((h, j) => errorOf(j, h));
  const scale = Math.max(...gradient.map(Math.abs));
  const allowed = (h) => 1e-6 * scale + (20 * Number.EPSILON * Math.max(Math.abs(loss), 1)) / h;
  const gap = (j, h) => Math.abs(at(j, h) + at(j, -h) - 2 * loss) / h; // right slope − left slope
  const right = (h, j) => errors[j] <= allowed(h) || errorOf(j, h / 2) < 0.75 * errors[j]; // shrinks with h: not ours
  const bent = (h, j) => gap(j, h) > allowed(h) && gap(j, h / 2) > 0.75 * gap(j, h);
  const wrong = scores.map((_, j) => j).filter((j) => !right(steps[j], j));
  const kink = wrong.some((j) => bent(steps[j], j));
  const verdict = !wrong.length ? "ok" : kink ? "kink" : "differs";
  return { error: Math.max(...errors), verdict };
}
