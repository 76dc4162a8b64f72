// The second view: keys as points in the plane, and among them the query, to be dragged. Its scores are qᵀk / √2.

const REACH = 2.5; // the plane is shown from −REACH to REACH
let planes = [];

// Keys on a ring, not quite evenly, so that no two directions are alike.
const keysOf = (s) => s.words.map((_, i) => {
  const angle = (2 * Math.PI * i) / s.words.length + 0.5, radius = [1.8, 1.5, 1.9, 1.6, 1.7, 1.4, 1.9, 1.5][i];
  return [radius * Math.cos(angle), radius * Math.sin(angle)];
});

function lookFromQuery(n, query, keys, task) {
  const seen = look(n, planeScores(query, keys), task);
  return { ...seen, gradQuery: queryGradient(seen.gradient, keys) };
}

function buildPlanes() {
  planes = NORMALIZERS.map((n) => {
    const lines = state.words.map(() => el("line", { class: "tie" }));
    const dots = state.words.map(() => el("circle", { class: "key" }));
    const names = state.words.map((w) => el("text", { class: "name" }, w));
    const [trail, arrow, tip] = ["trail", "arrow", "tip"].map((name) => el("path", { class: name }));
    const query = el("circle", { class: "query", r: 8 }), handle = el("circle", { class: "handle", r: 24 });
    const svg = el("svg", { role: "img" }, ...lines, trail, ...dots, ...names, arrow, tip, query, handle);
    const facts = el("p", { class: "facts" }), note = el("p", { class: "note" });
    const card = el("article", { class: "card", "aria-labelledby": `plane-${n.op}`, "data-op": n.op },
      el("header", {}, el("h3", { id: `plane-${n.op}` }, n.title)), svg, facts, note);
    svg.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch" && event.target !== handle) return; // there, a finger scrolls the page
      svg.setPointerCapture(event.pointerId);
      dragQuery(svg, event);
    });
    svg.addEventListener("pointermove", (event) => {
      if (svg.hasPointerCapture(event.pointerId)) dragQuery(svg, event);
    });
    return { n, card, svg, lines, dots, names, trail, arrow, tip, query, handle, facts, note };
  });
  at("planes").replaceChildren(...planes.map((p) => p.card));
}

function dragQuery(svg, event) {
  const box = svg.getBoundingClientRect(), unit = Math.min(box.width, box.height) / 2 / REACH;
  const to = [event.clientX - box.x - box.width / 2, box.y + box.height / 2 - event.clientY];
  event.preventDefault();
  change({ query: to.map((d) => clamp(Math.round((d / unit) * 100) / 100, -LIMITS.query, LIMITS.query)), walked: 0 });
}

function drawPlanes() {
  const task = taskOf(state), keys = keysOf(state);
  for (const p of planes) {
    const gradientAt = (q) => lookFromQuery(p.n, q, keys, task).gradQuery;
    const way = descend(state.query, gradientAt, state.rate, state.walked);
    const seen = lookFromQuery(p.n, way.at(-1), keys, task);
    p.card.classList.toggle("silent", silent(p.n, seen));
    drawPlane(p, way, keys, seen);
  }
}

function drawPlane(p, way, keys, seen) {
  const { weights, gradQuery, loss } = seen;
  const width = p.svg.clientWidth || 280, height = p.svg.clientHeight || 250;
  const unit = Math.min(width, height) / 2 / REACH;
  const place = ([x, y]) => [width / 2 + x * unit, height / 2 - y * unit];
  const inside = ([x, y]) => [clamp(x, 12, width - 12), clamp(y, 12, height - 12)];
  const [qx, qy] = inside(place(way.at(-1)));
  set(p.svg, "viewBox", `0 0 ${width} ${height}`);
  keys.forEach((key, i) => {
    const [x, y] = place(key), wanted = state.wants === "word" && i === state.word;
    const part = Number.isFinite(weights[i]) ? clamp(Math.abs(weights[i]), 0, 1) : 0;
    setAll(p.lines[i], { x1: qx, y1: qy, x2: x, y2: y, "stroke-width": part * 9 });
    p.lines[i].classList.toggle("neg", weights[i] < 0);
    setAll(p.dots[i], { cx: x, cy: y, r: wanted ? 7 : 5 });
    p.dots[i].classList.toggle("wanted", wanted);
    p.names[i].classList.toggle("wanted", wanted);
    const room = 3.6 * [...state.words[i]].length + 2;
    setAll(p.names[i], { x: clamp(x, room, width - room), y: key[1] < 0 ? y + 20 : y - 11 });
  });
  for (const circle of [p.query, p.handle]) setAll(circle, { cx: qx, cy: qy });
  set(p.trail, "d", way.length > 1 ? polyline(way.map((q) => inside(place(q)))) : "");
  const size = Math.hypot(...gradQuery);
  const drawn = drawArrow(p, [qx, qy], gradQuery.map((d) => -d / size), Math.min(size * 6, 2) * unit);
  say(p.facts, `loss ${lossText(loss)} · gradient ${size === 0 ? "exactly 0" : shown(size)}`);
  say(p.note, silent(p.n, seen) ? "No arrow: nothing tells the query where to go." : remark(p.n, seen));
  const told = state.words.map((w, i) => `${w} ${shown(weights[i], 2)}`).join(", ");
  const arrow = drawn ? `the arrow points ${direction(-gradQuery[0], -gradQuery[1])}` : "no arrow";
  set(p.svg, "aria-label", `${p.n.title}: weights ${told}; ${arrow}`);
}

// From the query downhill, the way a step goes. A gradient of 1 would be 6 units of the plane long; none is above 2.
function drawArrow(p, [qx, qy], [right, up], length) {
  const drawn = length > 2 && Number.isFinite(right + up), down = -up;
  const along = (back, aside) => // a point so far back from the tip, and so far to its side
    `${qx + right * (length - back) - down * aside} ${qy + down * (length - back) + right * aside}`;
  set(p.arrow, "d", drawn ? `M${qx} ${qy}L${along(8, 0)}` : "");
  set(p.tip, "d", drawn ? `M${along(0, 0)}L${along(11, 5.5)}L${along(11, -5.5)}Z` : "");
  return drawn;
}

function direction(x, y) {
  const names = ["right", "up and right", "up", "up and left", "left", "down and left", "down", "down and right"];
  return names[(Math.round(Math.atan2(y, x) / (Math.PI / 4)) + 8) % 8];
}
