// What the views share: elements, numbers in words, bars. Text from the visitor goes in as text, never as markup.

const at = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = ["svg", "path", "circle", "line", "text", "g", "defs", "marker", "rect", "clipPath"];

// el("p", { class: "note" }, "text or elements")
function el(tag, attributes = {}, ...children) {
  const e = SVG_TAGS.includes(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  setAll(e, attributes);
  e.append(...children);
  return e;
}
function set(e, name, value) {
  if (e.getAttribute(name) !== String(value)) e.setAttribute(name, value);
}
function setAll(e, attributes) {
  for (const [name, value] of Object.entries(attributes)) set(e, name, value);
}
function say(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

// "0" and "1" only for exactly these; what would round to 0 is told by its power of ten.
function shown(x, digits = 3) {
  if (x === 0 || x === 1) return String(Math.abs(x));
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "nan" : x > 0 ? "∞" : "−∞";
  const large = Math.abs(x) >= 1e4, tiny = Math.abs(x) < 0.5 * 10 ** -digits;
  const places = Math.max(digits - (Math.abs(x) >= 100 ? 2 : Math.abs(x) >= 10 ? 1 : 0), 0);
  return (large || tiny ? x.toExponential(0).replace("e+", "e") : x.toFixed(places)).replaceAll("-", "−");
}
const fixed = (x, digits) => x.toFixed(digits).replace("-", "−");
const lossText = (x) => (Math.abs(x) < 0.0005 && x !== 0 ? "0.000" : shown(x));
const rounded = (x) => String(Number(x.toFixed(2))); // for the fields one types in
const quoted = (word) => `“${word}”`;
const short = (word) => [...word].slice(0, 3).join("");
const inFull = (word) => el("abbr", { title: word }, short(word));

// A number with a bar below it, which starts at the left, or in the middle where numbers may be negative.
function barCell(kind) {
  const bar = el("i", { "aria-hidden": "true" }), number = el("span");
  return { cell: el("td", { class: `bar ${kind}` }, bar, number), bar, number };
}
function setBar({ cell, bar, number }, x, largest, text = shown(x)) {
  const part = Number.isFinite(x) ? clamp(x / largest, -1, 1) : 0;
  const middle = cell.classList.contains("signed");
  bar.style.setProperty("--part", Math.abs(part) / (middle ? 2 : 1));
  bar.style.setProperty("--from", middle ? 0.5 + Math.min(part, 0) / 2 : 0);
  cell.classList.toggle("neg", x < 0);
  say(number, text);
}

// A line through points; it is broken where there are none, as beside the pole of simple normalization.
function polyline(points) {
  const drawn = ([x, y]) => Number.isFinite(x + y);
  const pen = (i) => (i > 0 && drawn(points[i - 1]) ? "L" : "M");
  return points.map((p, i) => (drawn(p) ? `${pen(i)}${p[0].toFixed(1)} ${p[1].toFixed(1)}` : "")).join("");
}

// Which way a step moves what has this gradient.
const way = (gradient) => (gradient < 0 ? "↑" : gradient > 0 ? "↓" : "");

// Is nothing sent back, though there is something to learn?
const allZero = (a) => a.every((x) => x === 0);
const silent = (n, { gradient, gradWeights, loss }) =>
  n.blind || (allZero(gradient) && !allZero(gradWeights) && loss !== 0);

// One sentence on what is to be seen here, decided from the numbers and not from the name.
function remark(n, { weights, gradient, gradWeights, loss }) {
  const zeros = weights.filter((y) => y === 0).length;
  if (!weights.every(Number.isFinite)) return "The scores add up to 0: the weights divide by it and are lost.";
  if (n.blind) return "Exactly 0 at every score: these scores cannot learn.";
  if (Math.abs(loss) < 1e-9) return "It has arrived: no loss is left, and nothing needs to move.";
  if (allZero(gradient)) return "Exactly 0 at every score: from here it cannot learn.";
  if (gradient.every((d) => Math.abs(d) < 0.001)) return "Hardly anything comes back: learning is slow from here.";
  if (n.estimator) return "Chooses as hardmax does, and learns from softmax’s gradient.";
  if (weights.some((y) => y < 0)) return "A negative score makes a negative weight: these are not shares.";
  if (n.op === "sum_normalize") return "Fine while all scores are positive. The temperature cancels out.";
  if (n.op === "sigmoid_normalize") return "Each score passes a sigmoid alone; large scores all look alike.";
  if (zeros === 1) return "One word has weight exactly 0, and hears nothing.";
  if (zeros) return `${zeros} words have weight exactly 0, and hear nothing.`;
  return "Every word has some weight, and every score hears something.";
}
