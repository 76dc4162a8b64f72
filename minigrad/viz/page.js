"use strict";
// A view is a picture with some modules opened; its steps are the boxes of that picture, forward and then backward.
const { views, items, maps, lines, ops, backward } = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
let view = 0;
let step = 0; // 0 ... n-1 forward, n ... 2n-1 backward
let chosen = null; // a box that was clicked instead
const hasAddress = location.protocol !== "about:"; // a page inside a notebook has none
let timer = null;
let zoom = 0; // the picture's size; 0: as wide as its pane, but no larger than its own size
let head = 0; // whose lines are shown
let token = null; // whose lines stand out: "q2" is a query, "k3" a key

const steps = () => views[view].steps;
const count = () => steps().length * (backward ? 2 : 1);
const goingBack = () => step >= steps().length;
const lit = () => (goingBack() ? steps()[2 * steps().length - 1 - step] : steps()[step]);

function open(wanted, box = null, back = goingBack()) {
  view = wanted;
  at("graph").innerHTML = views[view].svg;
  const svg = at("graph").querySelector("svg");
  svg.setAttribute("role", "group");
  svg.setAttribute("aria-label", "boxes");
  size();
  for (const edge of svg.querySelectorAll(".edge")) reachTheBox(edge);
  for (const node of svg.querySelectorAll(".node")) {
    node.setAttribute("tabindex", "0");
    node.setAttribute("role", "button");
    const lines = [...node.querySelectorAll("text")].map((t) => t.textContent);
    node.setAttribute("aria-label", lines.join(", ") + (node.id in views[view].opens ? ", opens" : ""));
    node.addEventListener("click", () => choose(node.id));
  }
  for (const [id, parent] of Object.entries(views[view].closes)) {
    at(id).querySelector("text").addEventListener("click", () => close(parent)); // its name; not its background
  }
  const place = steps().indexOf(box);
  step = place < 0 ? (back ? steps().length : 0) : back ? 2 * steps().length - 1 - place : place;
  chosen = null;
  writePath();
  show();
}

function size() {
  const svg = at("graph").querySelector("svg");
  const width = parseFloat(svg.getAttribute("width"));
  svg.style.width = zoom ? `${width * zoom}pt` : `min(100%, ${width}pt)`;
  svg.style.minWidth = zoom ? "0" : `${width * 0.6}pt`;
}

function setZoom(to) {
  zoom = Math.min(4, Math.max(0.1, to));
  size();
  intoSight(at(chosen || lit()));
  save();
}

// From the size that is seen now.
function zoomBy(factor) {
  const svg = at("graph").querySelector("svg");
  setZoom((svg.getBoundingClientRect().width / (parseFloat(svg.getAttribute("width")) * (4 / 3))) * factor);
}

// All of it in the pane.
function fit() {
  const svg = at("graph").querySelector("svg");
  const [width, height] = ["width", "height"].map((name) => parseFloat(svg.getAttribute(name)) * (4 / 3));
  setZoom(Math.min(at("graph").clientWidth / width, at("graph").clientHeight / height, 4));
}

// On the way back the arrow's head is at the other end: the line goes on to the box, where the head was.
function reachTheBox(edge) {
  const [line, tip] = [edge.querySelector("path"), edge.querySelector("polygon")];
  if (!line || !tip) return;
  const end = line.getPointAtLength(line.getTotalLength());
  const corners = [...tip.points].sort((a, b) => Math.hypot(b.x - end.x, b.y - end.y) - Math.hypot(a.x - end.x, a.y - end.y));
  const stub = document.createElementNS("http://www.w3.org/2000/svg", "path");
  stub.setAttribute("d", `M${end.x},${end.y}L${corners[0].x},${corners[0].y}`);
  stub.setAttribute("class", "stub");
  stub.setAttribute("fill", "none");
  tip.after(stub);
}

// The module that was closed is lit afterwards, so that the walk goes on from there.
function close(parent) {
  const inside = view;
  const back = goingBack();
  let child = inside;
  while (views[child].parent !== null && views[child].parent !== parent) child = views[child].parent;
  const box = Object.entries(views[parent].opens).find(([, opened]) => opened === child);
  open(parent, box ? box[0] : null, back);
}

function choose(id) {
  stop();
  if (id in views[view].opens) {
    const back = goingBack();
    open(views[view].opens[id], null, back);
    step = firstInside(back);
    show();
  } else if (steps().includes(id)) {
    const place = steps().indexOf(id);
    step = goingBack() ? 2 * steps().length - 1 - place : place;
    chosen = null;
    show();
  } else {
    chosen = chosen === id ? null : id;
    show();
  }
}

// Where to stand after opening a module: at its first op, or on the way back at its last one.
function firstInside(back) {
  const n = steps().length;
  const inside = steps().map((id) => views[view].inside.includes(id));
  const first = inside.indexOf(true);
  const last = inside.lastIndexOf(true);
  return back ? 2 * n - 1 - last : first;
}

function move(to) {
  step = Math.max(0, Math.min(count() - 1, to));
  chosen = null;
  show();
}

function writePath() {
  const way = [];
  for (let v = view; v !== null; v = views[v].parent) way.unshift(v);
  at("path").replaceChildren();
  way.forEach((v, i) => {
    if (i > 0) at("path").append(" › ");
    const name = v === 0 ? "everything" : views[v].name.replace(i > 1 ? views[way[i - 1]].name + "." : "", "");
    if (v === view) return at("path").append(name);
    const button = document.createElement("button");
    button.textContent = name;
    button.addEventListener("click", () => close(v));
    at("path").append(button);
  });
}

function show() {
  const n = steps().length;
  const back = goingBack();
  const now = lit();
  const place = steps().indexOf(now);
  const order = new Map(steps().map((id, i) => [id, i]));
  const computed = (id) => back || !order.has(id) || order.get(id) <= place; // leaves and data are there from the start
  const pulled = (id) => back && order.has(id) && order.get(id) >= place; // backward has gone through it
  const data = (id) => at(id).classList.contains("input"); // it gets no gradient
  document.body.classList.toggle("going-back", back);
  document.body.classList.toggle("forward-only", !backward);

  const reached = new Set(); // boxes to which a gradient has come, their own VJP run or not
  for (const [id, [tail, head, state]] of Object.entries(views[view].edges)) {
    const flows = pulled(head) && !data(tail) && state !== "cut";
    if (flows) reached.add(tail);
    const edge = at(id);
    edge.classList.toggle("todo", !computed(head));
    edge.classList.toggle("flow", flows);
  }
  for (const node of at("graph").querySelectorAll(".node")) {
    node.classList.toggle("todo", !computed(node.id));
    node.classList.toggle("back", pulled(node.id) || (reached.has(node.id) && !order.has(node.id)));
    for (const line of node.querySelectorAll(data(node.id) ? ".grad" : ".grad, .cut")) {
      line.dataset.known ??= line.textContent;
      line.textContent = node.classList.contains("back") ? line.dataset.known : ""; // not known yet
    }
    node.classList.toggle("now", node.id === now);
    node.classList.toggle("chosen", node.id === chosen);
    node.toggleAttribute("aria-current", node.id === now);
  }
  const slider = at("slider");
  slider.max = count() - 1;
  slider.value = step;
  const which = back ? step - n + 1 : step + 1;
  const told = `${back ? "backward" : "forward"} ${which} of ${n}: ${at(now).querySelector(".title").textContent}`;
  slider.setAttribute("aria-valuetext", told);
  at("status").textContent = told;
  intoSight(at(chosen || now));
  writePanel(chosen || now, back, which, n);
  save();
}

// The address keeps what is set: after a reload or in a sent link it is all there.
function save() {
  const set = { view, step, head, token, zoom: zoom && zoom.toFixed(2) };
  const kept = Object.entries(set).filter(([, value]) => value);
  if (hasAddress) history.replaceState(null, "", "#" + new URLSearchParams(kept));
}

function restore() {
  const said = new URLSearchParams(location.hash.slice(1));
  const whole = (name, n) => { const x = Number(said.get(name)); return Number.isInteger(x) && x >= 0 && x < n ? x : 0; };
  head = whole("head", 64);
  token = /^[qk]\d+$/.test(said.get("token")) ? said.get("token") : null;
  const z = Number(said.get("zoom"));
  zoom = z >= 0.1 && z <= 4 ? z : 0;
  const wanted = whole("step", 1e6);
  open(whole("view", views.length));
  move(wanted);
}

function intoSight(node) {
  const pane = at("graph");
  const box = node.getBoundingClientRect();
  const inside = pane.getBoundingClientRect();
  if (box.top < inside.top + 40 || box.bottom > inside.bottom - 40) {
    pane.scrollTop += box.top + box.height / 2 - inside.top - inside.height / 2;
  }
  if (box.left < inside.left || box.right > inside.right) {
    pane.scrollLeft += box.left + box.width / 2 - inside.left - inside.width / 2;
  }
}

function writePanel(id, back, which, n) {
  const item = items[views[view].items[id]];
  const op = ops[item.op];
  const way = back ? "backward" : "forward";
  const phase = chosen ? `<span class="phase chosen">chosen</span>` : `<span class="phase ${way}">${way} ${which} of ${n}</span>`;
  const opens = id in views[view].opens ? `<p><button id="open">open ${item.title} (Enter)</button></p>` : "";
  let html = `${phase}<h2>${item.title}</h2><p class="where">${item.where ? "in " + item.where : ""}</p>${opens}`;
  const weights = item.maps.map((n) => (lines[n] ? linesHtml(n) : "") + maps[n]).join("");
  const numbers = back ? item.backward : item.forward;
  if (op && !back) {
    html += `<div class="lit-part forward">${op.formula}</div>${weights}${numbers}`;
    html += part("Backward", op.backward, false, "backward") + part("Notes", op.notes, false);
  } else if (op) {
    html += `<div class="lit-part backward">${op.backward}</div>${weights}${numbers}`;
    html += part("Forward", op.formula + item.forward, false, "forward") + part("Notes", op.notes, false);
  } else {
    html += weights + numbers;
  }
  if (op && op.code) html += part("Code", op.code, true);
  at("panel").innerHTML = html;
  at("panel").scrollTop = 0;
  startLines(at("panel"), back);
  at("panel").style.setProperty("--now", `var(--${way})`);
  for (const line of at("panel").querySelectorAll(".code span")) {
    line.className = (line.className === "vjp") === back ? "on" : "off";
  }
  if (opens) at("open").addEventListener("click", () => choose(id));
}

const part = (title, html, opened, kind = "") =>
  html ? `<details ${opened ? "open" : ""} class="lit-part ${kind}"><summary>${title}</summary>${html}</details>` : "";

// The lines of attention.

function stop() {
  clearInterval(timer);
  timer = null;
  at("play").textContent = "▶\ufe0e walk";
}

function play() {
  if (timer) return stop();
  if (step === count() - 1) move(0);
  at("play").textContent = "⏸\ufe0e pause";
  timer = setInterval(() => (step < count() - 1 ? move(step + 1) : stop()), 900);
}

const keys = {
  ArrowRight: () => move(step + 1),
  ArrowLeft: () => move(step - 1),
  Home: () => move(0),
  End: () => move(count() - 1),
  Enter: () => { if (lit() in views[view].opens) choose(lit()); },
  Escape: () => { if (views[view].parent !== null) close(views[view].parent); },
  " ": play,
  "+": () => zoomBy(1.25),
  "-": () => zoomBy(0.8),
  0: fit,
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const inGraph = at("graph").contains(document.activeElement);
  react(event);
  if (inGraph && !at("graph").contains(document.activeElement)) at(lit()).focus({ preventScroll: true }); // a new picture
});
function react(event) {
  const pressed = event.target.closest("button, summary, .node");
  if ((event.key === "Enter" || event.key === " ") && pressed) {
    if (pressed.classList.contains("node")) { event.preventDefault(); choose(pressed.id); }
    return; // buttons and summaries do what they do
  }
  if (!Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  if (event.key !== " ") stop();
  keys[event.key]();
}
at("first").addEventListener("click", () => { stop(); move(0); });
at("previous").addEventListener("click", () => { stop(); move(step - 1); });
at("next").addEventListener("click", () => { stop(); move(step + 1); });
at("last").addEventListener("click", () => { stop(); move(count() - 1); });
at("play").addEventListener("click", play);
at("slider").addEventListener("input", () => { stop(); move(Number(at("slider").value)); });

at("larger").addEventListener("click", () => zoomBy(1.25));
at("smaller").addEventListener("click", () => zoomBy(0.8));
at("fit").addEventListener("click", fit);
addEventListener("hashchange", restore);

restore();
