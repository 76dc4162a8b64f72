"use strict";
// A view is a picture with some modules opened; its steps are the boxes of that picture, forward and then backward.
const { views, items, maps, ops, backward } = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
let view = 0;
let step = 0; // 0 ... n-1 forward, n ... 2n-1 backward
let chosen = null; // a box that was clicked instead
let timer = null;

const steps = () => views[view].steps;
const count = () => steps().length * (backward ? 2 : 1);
const goingBack = () => step >= steps().length;
const lit = () => (goingBack() ? steps()[2 * steps().length - 1 - step] : steps()[step]);

function open(wanted, box = null, back = goingBack()) {
  view = wanted;
  at("graph").innerHTML = views[view].svg;
  const svg = at("graph").querySelector("svg");
  const width = parseFloat(svg.getAttribute("width"));
  svg.style.width = `min(100%, ${width}pt)`;
  svg.style.minWidth = `${width * 0.6}pt`;
  svg.setAttribute("role", "group");
  for (const node of svg.querySelectorAll(".node")) {
    node.setAttribute("tabindex", "0");
    node.setAttribute("role", "button");
    const lines = [...node.querySelectorAll("text")].map((t) => t.textContent);
    node.setAttribute("aria-label", lines.join(", ") + (node.id in views[view].opens ? ", opens" : ""));
    node.addEventListener("click", () => choose(node.id));
  }
  for (const [id, parent] of Object.entries(views[view].closes)) {
    at(id).addEventListener("click", () => close(parent));
  }
  const place = steps().indexOf(box);
  step = place < 0 ? (back ? steps().length : 0) : back ? 2 * steps().length - 1 - place : place;
  chosen = null;
  writePath();
  show();
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
    for (const line of node.querySelectorAll("text.grad")) {
      line.dataset.known ??= line.textContent;
      line.textContent = node.classList.contains("back") ? line.dataset.known : "∇ …"; // not known yet
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
  history.replaceState(null, "", `#${view},${step}`);
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
  const weights = item.maps.map((n) => maps[n]).join("");
  const numbers = back ? item.backward : item.forward;
  if (op && !back) {
    html += `<div class="lit-part forward">${op.formula}</div>${weights}${numbers}`;
    html += part("Backward", op.backward, false, "backward") + part("Notes", op.notes, false);
  } else if (op) {
    html += `<div class="lit-part backward">${op.backward}</div>${numbers}`;
    html += part("Forward", op.formula + item.forward, false, "forward") + weights + part("Notes", op.notes, false);
  } else {
    html += weights + numbers;
  }
  if (op && op.code) html += part("Code", op.code, true);
  at("panel").innerHTML = html;
  at("panel").scrollTop = 0;
  at("panel").style.setProperty("--now", `var(--${way})`);
  for (const line of at("panel").querySelectorAll(".code span")) {
    line.className = (line.className === "vjp") === back ? "on" : "off";
  }
  if (opens) at("open").addEventListener("click", () => choose(id));
}

const part = (title, html, opened, kind = "") =>
  html ? `<details ${opened ? "open" : ""} class="lit-part ${kind}"><summary>${title}</summary>${html}</details>` : "";

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
  if (!(event.key in keys)) return;
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

const [startView, startStep] = location.hash.slice(1).split(",").map(Number);
open(views[startView] ? startView : 0);
if (startStep) move(startStep);
