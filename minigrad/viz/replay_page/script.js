"use strict";
// A frame is what all runs looked like at one training step. draw() shows frame `now`; all else calls it.
const { steps, queries, keys, runs } = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const last = steps.length - 1;
const picked = { query: 0, key: 0 };
let now = 0, timer = null, saving, telling;

// One byte a weight; an empty frame is the one before.
const bytes = (frame) => Uint8Array.from(atob(frame), (c) => c.charCodeAt(0));
for (const run of runs) {
  let before;
  run.weights = run.frames.map((frame) => (before = frame ? bytes(frame) : before));
}
const weight = (run, frame, query, key) => run.weights[frame][query * keys.length + key] / 255;
const rounded = (x, digits) => x.toFixed(digits);
const gradientText = (g) => (g === 0 ? "exactly 0" : Number(g.toPrecision(2)).toString().replace("-", "−"));

function element(tag, parent, className = "", text = "") {
  const e = document.createElement(tag);
  e.className = className;
  e.textContent = text;
  parent.append(e);
  return e;
}

function build() {
  for (const run of runs) {
    const card = (run.card = element("article", at("runs"), "run"));
    element("h2", card, "", run.name);
    const map = element("div", card, "map");
    run.canvas = element("canvas", map);
    run.canvas.width = keys.length;
    run.canvas.height = queries.length;
    run.canvas.setAttribute("role", "img");
    map.style.setProperty("--shape", `${keys.length} / ${queries.length}`);
    run.mark = element("i", map);
    map.addEventListener("pointermove", (e) => point(e, run.canvas));
    map.addEventListener("pointerdown", (e) => point(e, run.canvas));
    element("p", card, "caption", "answers right, over the steps");
    card.insertAdjacentHTML("beforeend", `<svg class="curve" viewBox="0 0 100 44" preserveAspectRatio="none"
      aria-hidden="true"><path/><line y1="0" y2="44"/></svg>`);
    const x = (i) => (last ? (100 * i) / last : 0);
    card.querySelector("path").setAttribute("d", run.accuracy.map((a, i) => `${i ? "L" : "M"}${x(i)} ${42 - 40 * a}`).join(""));
    const facts = element("dl", card);
    for (const [name, words] of [["accuracy", "right"], ["gradient", "gradient"], ["weight", ""]]) {
      run[`${name}Name`] = element("dt", facts, "", words);
      run[`${name}Text`] = element("dd", facts, name);
    }
  }
  for (const [id, names] of [["query", queries], ["key", keys]]) {
    names.forEach((name, i) => { element("option", at(id), "", name).value = i; });
    at(id).addEventListener("change", () => { picked[id] = Number(at(id).value); draw(); });
  }
  at("slider").max = last;
}

function point(event, canvas) {
  const box = canvas.getBoundingClientRect();
  const place = (x, from, size, n) => Math.min(n - 1, Math.max(0, Math.floor(((x - from) / size) * n)));
  picked.query = place(event.clientY, box.top, box.height, queries.length);
  picked.key = place(event.clientX, box.left, box.width, keys.length);
  draw();
}

function draw() {
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
  const [red, green, blue] = [1, 3, 5].map((i) => parseInt(ink.slice(i, i + 2), 16));
  for (const run of runs) {
    const context = run.canvas.getContext("2d");
    const image = context.createImageData(keys.length, queries.length);
    run.weights[now].forEach((w, i) => image.data.set([red, green, blue, w], 4 * i));
    context.putImageData(image, 0, 0);
    run.mark.style.cssText = `left:${(100 * picked.key) / keys.length}%;top:${(100 * picked.query) / queries.length}%;` +
      `width:${100 / keys.length}%;height:${100 / queries.length}%`;
    const silent = run.gradient[now] === 0;
    run.card.classList.toggle("silent", silent);
    run.accuracyText.textContent = `${rounded(100 * run.accuracy[now], 0)} %`;
    run.gradientText.textContent = gradientText(run.gradient[now]);
    run.weightName.textContent = `${queries[picked.query]} → ${keys[picked.key]}`;
    run.weightText.textContent = rounded(weight(run, now, picked.query, picked.key), 2);
    run.canvas.setAttribute("aria-label", saidOf(run));
    const line = run.card.querySelector("line");
    line.setAttribute("x1", last ? (100 * now) / last : 0);
    line.setAttribute("x2", last ? (100 * now) / last : 0);
  }
  at("slider").value = now;
  at("slider").setAttribute("aria-valuetext", `step ${steps[now]}`);
  at("step").textContent = `step ${steps[now].toLocaleString("en")}`;
  at("query").value = picked.query;
  at("key").value = picked.key;
  clearTimeout(saving);
  saving = setTimeout(save, 200);
  clearTimeout(telling);
  telling = setTimeout(tell, 700);
}

function saidOf(run) {
  let said = `weights of ${run.name} at step ${steps[now]}`;
  if (queries.length === keys.length) {
    const own = queries.filter((_, i) => keys.every((_, j) => weight(run, now, i, i) >= weight(run, now, i, j)));
    said += `: ${own.length} of ${queries.length} queries look most at the key of their own number`;
  }
  return said;
}

// What a screen reader is told, once the hand is still.
function tell() {
  if (timer) return;
  const facts = runs.map((r) => `${r.name} ${r.accuracyText.textContent} right, gradient ${r.gradientText.textContent}`);
  at("status").textContent = `Step ${steps[now]}: ${facts.join("; ")}.`;
}

function move(to) {
  now = Math.min(last, Math.max(0, to));
  draw();
}

function stop() {
  clearInterval(timer);
  timer = null;
  at("play").textContent = "▶\ufe0e play";
}

// Nothing moves unless asked. Whoever has asked for less motion gets a frame a second.
function play() {
  if (timer) { stop(); return draw(); }
  if (now === last) move(0);
  at("play").textContent = "⏸\ufe0e pause";
  const slowly = matchMedia("(prefers-reduced-motion: reduce)").matches;
  timer = setInterval(() => { if (now < last) move(now + 1); else { stop(); draw(); } }, slowly ? 1000 : 160);
}

// --- the address: the training step and the weight that is looked up -------------------------------------------------

function save() {
  if (location.protocol === "about:") return; // inside a notebook, the page has no address
  history.replaceState(null, "", `#step=${steps[now]}&query=${picked.query}&key=${picked.key}`);
}

function open() {
  const said = new URLSearchParams(location.hash.slice(1));
  const whole = (name, n) => { const x = Math.round(Number(said.get(name))); return x >= 0 && x < n ? x : 0; };
  picked.query = whole("query", queries.length);
  picked.key = whole("key", keys.length);
  const wanted = Number(said.get("step"));
  const nearest = (s) => Math.abs(s - wanted);
  move(Number.isFinite(wanted) ? steps.reduce((best, s, i) => (nearest(s) < nearest(steps[best]) ? i : best), 0) : 0);
}

const KEYS = {
  ArrowRight: () => move(now + 1), ArrowLeft: () => move(now - 1), Home: () => move(0), End: () => move(last), " ": play,
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  if (event.target.closest("select") || (event.key === " " && event.target.closest("button"))) return;
  event.preventDefault();
  if (event.key !== " ") stop();
  KEYS[event.key]();
});
at("play").addEventListener("click", play);
at("previous").addEventListener("click", () => { stop(); move(now - 1); });
at("next").addEventListener("click", () => { stop(); move(now + 1); });
at("slider").addEventListener("input", () => { stop(); move(Number(at("slider").value)); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
addEventListener("hashchange", open);
addEventListener("pagehide", save);
build();
open();
