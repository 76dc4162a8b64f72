// The first view: one card for each normalizer, with weights, gradients, staircase, Jacobian and the check.

const STAIRS = { width: 260, height: 104, low: -4, high: 4, points: 201 };
let cards = [];

function buildCards() {
  cards = NORMALIZERS.map((n) => {
    const rows = state.words.map((word) => {
      const score = el("td"), weight = barCell("plain"), gradient = barCell("signed");
      const line = el("tr", {}, el("th", { scope: "row" }, word), score, weight.cell, gradient.cell);
      return { score, weight, gradient, line };
    });
    const note = el("p", { class: "note" });
    const caption = el("caption", { class: "unseen" }, `${n.title}: scores, weights and gradients`);
    const heads = ["word", "score", "weight", "gradient"].map((t) => el("th", { scope: "col" }, t));
    const body = el("tbody", {}, ...rows.map((row) => row.line));
    const table = el("table", { class: "rows" }, caption, el("thead", {}, el("tr", {}, ...heads)), body);
    const stairs = buildStairs(n), matrix = buildMatrix(n), check = el("p", { class: "check" });
    const heading = el("header", {}, el("h3", { id: `of-${n.op}` }, n.title), el("p", { class: "formula" }, n.formula));
    const card = el("article", { class: "card", "aria-labelledby": `of-${n.op}`, "data-op": n.op },
      heading, table, note, stairs.figure, matrix.box, check);
    return { n, card, rows, note, stairs, matrix, check };
  });
  at("cards").replaceChildren(...cards.map((c) => c.card));
}

function buildStairs(n) {
  const { width, height } = STAIRS;
  const curve = el("path", { class: "curve" }), slope = el("path", { class: "slope" });
  const point = el("circle", { class: "point", r: 5 }), title = el("h4");
  const svg = el("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" },
    el("path", { class: "axis", d: `M0 ${height - 14}H${width}` }),
    el("text", { x: 0, y: height - 2 }, "−4"),
    el("text", { x: width / 2, y: height - 2, "text-anchor": "middle" }, "0"),
    el("text", { x: width, y: height - 2, "text-anchor": "end" }, "4"),
    curve, slope, point);
  return { figure: el("div", { class: "stairs" }, title, svg), title, svg, curve, slope, point };
}

function buildMatrix(n) {
  const cells = state.words.map(() => state.words.map(() => el("td")));
  const head = el("tr", {}, el("td"), ...state.words.map((w) => el("th", { scope: "col" }, inFull(w))));
  const rows = cells.map((row, i) => el("tr", {}, el("th", { scope: "row" }, inFull(state.words[i])), ...row));
  const table = el("table", { class: "matrix" },
    el("caption", { class: "unseen" }, `${n.title}: how the weight of each row changes with the score of each column`),
    el("thead", {}, head), el("tbody", {}, ...rows));
  const title = n.estimator ? "Jacobian it goes back by" : "Jacobian ∂weight/∂score";
  return { box: el("div", { class: "jacobian" }, el("h4", {}, title), table), cells };
}

// The scores of one normalizer: where its own steps have led it.
function scoresNow(n) {
  const task = taskOf(state);
  return descend(scoresOf(state), (x) => look(n, x, task).gradient, state.rate, state.steps).at(-1);
}

function drawCards() {
  const task = taskOf(state), start = scoresOf(state);
  const largest = state.wants === "word" ? 0.5 : 2; // where a gradient's bar ends
  for (const c of cards) {
    const scores = scoresNow(c.n), seen = look(c.n, scores, task);
    c.card.classList.toggle("silent", silent(c.n, seen));
    c.rows.forEach((row, i) => {
      say(row.score, fixed(scores[i], 2));
      row.score.classList.toggle("moved", scores[i] !== start[i]);
      setBar(row.weight, seen.weights[i], 1);
      setBar(row.gradient, seen.gradient[i], largest, `${shown(seen.gradient[i])} ${way(seen.gradient[i])}`.trim());
      row.line.classList.toggle("wanted", state.wants === "word" && i === state.word);
    });
    say(c.note, remark(c.n, seen));
    drawStairs(c, scores, seen, task);
    drawMatrix(c, jacobian(c.n, scores, task.temperature));
    drawCheck(c, finiteDifferences(c.n, scores, task));
  }
}

// The loss while one score moves and the others stay. The line through the point has the slope that comes back.
function drawStairs({ n, stairs }, scores, seen, task) {
  const { width, height, low, high, points } = STAIRS, word = state.words[state.along];
  const top = state.wants === "word" ? 1 : Math.max(...valuesOf(state).map((v) => (v - state.target) ** 2), 1e-9);
  const right = (x) => ((x - low) / (high - low)) * width;
  const down = (loss) => (Math.abs(loss / top) < 3 ? height - 20 - clamp(loss / top, -0.3, 1.3) * (height - 32) : NaN);
  const lossAt = (x) => look(n, scores.map((s, j) => (j === state.along ? x : s)), task).loss;
  const others = JSON.stringify([scores.with(state.along, 0), { ...state, scores: [] }]);
  if (stairs.drawnFor !== others) { // while a score is dragged along its own curve, the curve stays
    const xs = Array.from({ length: points }, (_, i) => low + ((high - low) * i) / (points - 1));
    set(stairs.curve, "d", polyline(xs.map((x) => [right(x), down(lossAt(x))])));
    stairs.drawnFor = others;
  }
  const x = right(clamp(scores[state.along], low, high)), y = down(seen.loss);
  const slope = seen.gradient[state.along];
  const fall = (-slope / top) * (height - 32) * ((high - low) / width); // pixels down per pixel to the right
  const half = 34 / Math.hypot(1, fall);
  const there = Number.isFinite(x + y + fall);
  set(stairs.slope, "d", there ? `M${x - half} ${y - half * fall}L${x + half} ${y + half * fall}` : "");
  set(stairs.point, "cx", there ? x : -99);
  set(stairs.point, "cy", there ? y : -99);
  say(stairs.title, `Loss ${lossText(seen.loss)} as ${quoted(word)} moves`);
  set(stairs.svg, "aria-label", `The loss of ${n.title} along the score of ${word}; now ${lossText(seen.loss)}, ` +
    `and the slope that comes back is ${shown(slope)}`);
}

function drawMatrix({ matrix }, rows) {
  rows.forEach((row, i) => row.forEach((d, j) => {
    const cell = matrix.cells[i][j];
    say(cell, d === 0 ? "0" : Math.abs(d) < 0.005 ? (d < 0 ? "−.00" : ".00") : shown(d, 2).replace("0.", "."));
    cell.className = d < 0 ? "neg" : "pos";
    cell.style.setProperty("--t", `${Math.round(Math.min(Math.abs(d) / 0.5, 1) * 60) || 0}%`);
  }));
}

function drawCheck({ n, check }, { error, verdict }) {
  const by = Number.isFinite(error) ? shown(error) : "nan";
  const words = {
    ok: error === 0 ? "✓ Finite differences say 0, too" : `✓ Finite differences agree, to ${by}`,
    kink: "A jump or a kink lies here: finite differences cannot tell",
    differs: n.estimator ? `≠ Finite differences say otherwise, by ${by}: it is an estimator` : `✗ Off by ${by}`,
  };
  say(check, words[verdict]);
  check.dataset.verdict = verdict;
}
