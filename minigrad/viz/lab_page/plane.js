// The second view: keys as points in the plane, and among them the query, to be dragged. Its scores are qᵀk / √2.

const REACH = 2.4; // the plane is shown from −REACH to REACH
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
    const trail = el("path", { class: "trail" }), arrow = el("path", { class: "arrow" }), tip = el("path", { class: "tip" });
    const query = el("circle", { class: "query", r: 8 });
    const svg = el("svg", { role: "img" }, ...lines, trail, ...dots, ...names, arrow, tip, query);
    const facts = el("p", { class: "facts" }), note = el("p", { class: "note" });
    const card = el("article", { class: "card", "aria-labelledby": `plane-${n.op}`, "data-op": n.op },
      el("header", {}, el("h3", { id: `plane-${n.op}` }, n.title)), svg, facts, note);
    svg.addEventListener("pointerdown", (event) => { svg.setPointerCapture(event.pointerId); dragQuery(svg, event); });
    svg.addEventListener("pointermove", (event) => { if (svg.hasPointerCapture(event.pointerId)) dragQuery(svg, event); });
    return { n, card, svg, lines, dots, names, trail, arrow, tip, query, facts, note };
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
    p.card.classList.toggle("silent", silent(seen));
    drawPlane(p, way, keys, seen);
  }
}

function drawPlane(p, way, keys, { weights, gradient, gradQuery, gradWeights, loss }) {
  const width = p.svg.clientWidth || 280, height = p.svg.clientHeight || 250, unit = Math.min(width, height) / 2 / REACH;
  const place = ([x, y]) => [width / 2 + x * unit, height / 2 - y * unit];
  const inside = ([x, y]) => [clamp(x, 8, width - 8), clamp(y, 8, height - 8)];
  const [qx, qy] = inside(place(way.at(-1)));
  set(p.svg, "viewBox", `0 0 ${width} ${height}`);
  keys.forEach((key, i) => {
    const [x, y] = place(key), wanted = state.wants === "word" && i === state.word;
    const part = Number.isFinite(weights[i]) ? clamp(Math.abs(weights[i]), 0, 1) : 0;
    for (const [name, value] of Object.entries({ x1: qx, y1: qy, x2: x, y2: y, "stroke-width": part * 9 })) set(p.lines[i], name, value);
    p.lines[i].classList.toggle("neg", weights[i] < 0);
    for (const [name, value] of Object.entries({ cx: x, cy: y, r: wanted ? 7 : 5 })) set(p.dots[i], name, value);
    p.dots[i].classList.toggle("wanted", wanted);
    p.names[i].classList.toggle("wanted", wanted);
    const room = 3.6 * [...state.words[i]].length + 2;
    set(p.names[i], "x", clamp(x, room, width - room));
    set(p.names[i], "y", key[1] < 0 ? y + 20 : y - 11);
  });
  set(p.query, "cx", qx);
  set(p.query, "cy", qy);
  set(p.trail, "d", way.length > 1 ? `M${way.map((q) => inside(place(q)).map((d) => d.toFixed(1)).join(" ")).join("L")}` : "");

  // The arrow points downhill, the way a step goes. A gradient of 1 would be 4 units of the plane long.
  const downhill = gradQuery.map((d) => -d), size = Math.hypot(...gradQuery);
  const lengthInPixels = Math.min(size * 4, 2) * unit;
  const [dx, dy] = size > 0 && Number.isFinite(size) ? [downhill[0] / size, -downhill[1] / size] : [0, 0];
  const [tx, ty] = [qx + dx * lengthInPixels, qy + dy * lengthInPixels];
  const draw = lengthInPixels > 2 && (dx || dy);
  set(p.arrow, "d", draw ? `M${qx} ${qy}L${tx - dx * 8} ${ty - dy * 8}` : "");
  set(p.tip, "d", draw ? `M${tx} ${ty}L${tx - dx * 11 - dy * 5.5} ${ty - dy * 11 + dx * 5.5}L${tx - dx * 11 + dy * 5.5} ${ty - dy * 11 - dx * 5.5}Z` : "");
  say(p.facts, `loss ${shown(loss)} · gradient on the query ${size === 0 ? "exactly 0" : shown(size)}`);
  const nothing = silent({ gradient, gradWeights });
  say(p.note, nothing ? "No arrow: nothing tells the query where to go." : remark(p.n, { weights, gradient, gradWeights }));
  set(p.svg, "aria-label", `${p.n.title}: weights ${state.words.map((w, i) => `${w} ${shown(weights[i], 2)}`).join(", ")}; ` +
    (draw ? `the arrow points ${direction(dx, -dy)}` : "no arrow"));
}

function direction(x, y) {
  const names = ["right", "up and right", "up", "up and left", "left", "down and left", "down", "down and right"];
  return names[(Math.round(Math.atan2(y, x) / (Math.PI / 4)) + 8) % 8];
}
