// The controls, and the one way in which anything changes: change(what) sets it, draws it, and writes the address.

const BUILD = { scores: () => { buildDials(); buildCards(); }, plane: () => { buildDials(); buildPlanes(); }, guess: () => {} };
const DRAW = { scores: drawCards, plane: drawPlanes, guess: drawGuess };
let built = "", saving, telling, running;

function change(patch) {
  const before = state;
  state = fitToWords({ ...state, ...patch });
  draw(before.view !== state.view);
  clearTimeout(saving);
  saving = setTimeout(save, 200);
}

const save = () => history.replaceState(null, "", "#" + toAddress(state));

function draw(newView) {
  const shape = JSON.stringify([state.view, state.words]);
  if (newView) showView();
  if (shape !== built) BUILD[state.view]();
  built = shape;
  if (state.view !== "guess") drawControls();
  DRAW[state.view]();
  tellSoon();
}

function showView() {
  for (const view of VIEWS) {
    at(`view-${view}`).hidden = view !== state.view;
    set(at(`to-${view}`), "aria-pressed", view === state.view);
  }
  at("controls").hidden = state.view === "guess";
}

// --- dials: a slider and a field for the same number -------------------------------------------------------------------

let dials = [];

function dial({ name, label, low, high, step, limits, get, put, scale = (x) => x, unscale = (x) => x }) {
  const id = `dial-${name}`;
  const slider = el("input", { type: "range", id, min: low, max: high, step });
  const field = el("input", { type: "number", step: "any", min: limits[0], max: limits[1], "aria-label": `${label}, typed` });
  slider.addEventListener("input", () => put(unscale(Number(slider.value))));
  field.addEventListener("input", () => { const x = within(field.value, ...limits, null); if (x !== null) put(x); });
  field.addEventListener("change", () => { field.value = rounded(get()); });
  const box = el("div", { class: "dial" }, el("label", { for: id }, label), slider, field);
  return { box, show() {
    const x = get();
    if (document.activeElement !== field || !same(field.value, x)) field.value = rounded(x);
    if (document.activeElement !== slider || !same(unscale(Number(slider.value)), x)) slider.value = scale(x);
    set(slider, "aria-valuetext", shown(x, 2));
  } };
}
const same = (a, b) => a !== "" && Number(a) === b;

const put = (name, i, x) => state[name].map((old, j) => (i === j ? x : old));

function buildDials() {
  const s = LIMITS.score, v = LIMITS.value, tidy = (x) => Number((10 ** x).toPrecision(2));
  const scores = state.words.map((word, i) => {
    const made = dial({ name: `score-${i}`, label: word, low: -4, high: 4, step: 0.1, limits: [-s, s], get: () => state.scores[i],
      put: (x) => change({ scores: put("scores", i, x), along: i, steps: 0 }) });
    const value = el("input", { type: "number", step: "any", min: -v, max: v, class: "value", "aria-label": `value of ${word}` });
    value.addEventListener("input", () => { const x = within(value.value, -v, v, null); if (x !== null) change({ values: put("values", i, x), steps: 0, walked: 0 }); });
    made.box.append(value);
    return { ...made, show() { made.show(); if (document.activeElement !== value) value.value = rounded(state.values[i]); } };
  });
  const queries = ["query, to the right", "query, upwards"].map((label, i) => dial({ name: `query-${i}`, label, low: -REACH, high: REACH,
    step: 0.1, limits: [-LIMITS.query, LIMITS.query], get: () => state.query[i], put: (x) => change({ query: put("query", i, x), walked: 0 }) }));
  const temperature = dial({ name: "temperature", label: "temperature", low: -1, high: 1, step: 0.05, limits: LIMITS.temperature,
    get: () => state.temperature, put: (x) => change({ temperature: x }), scale: Math.log10, unscale: tidy });
  dials = [...(state.view === "scores" ? scores : queries), temperature];
  at("dials").replaceChildren(...dials.map((d) => d.box));
  at("dials").style.setProperty("--n", dials.length);
  at("word").replaceChildren(...state.words.map((w, i) => el("option", { value: i }, w)));
}

function drawControls() {
  for (const d of dials) d.show();
  const byWord = state.wants === "word", plane = state.view === "plane", taken = plane ? state.walked : state.steps;
  at("lab").classList.toggle("by-value", !byWord);
  if (document.activeElement !== at("sentence")) at("sentence").value = state.words.join(" ");
  at("wants").value = state.wants;
  at("word").value = state.word;
  if (document.activeElement !== at("target")) at("target").value = rounded(state.target);
  at("word").hidden = !byWord;
  at("target").hidden = byWord;
  at("rate").value = state.rate;
  say(at("taken"), taken ? `${taken} ${taken === 1 ? "step" : "steps"} downhill` : "at the start");
}

// --- steps ---------------------------------------------------------------------------------------------------------------

function step(n) {
  const name = state.view === "plane" ? "walked" : "steps";
  change({ [name]: n === 0 ? 0 : Math.min(state[name] + n, LIMITS.steps) });
}

// One step a frame, or all at once for whoever has asked for less motion.
function run(n) {
  cancelAnimationFrame(running);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return step(n);
  const go = (left) => { step(1); if (left > 1) running = requestAnimationFrame(() => go(left - 1)); };
  go(n);
}

// --- what a screen reader is told, once the hand is still -------------------------------------------------------------------

function tellSoon() {
  clearTimeout(telling);
  if (state.view !== "guess") telling = setTimeout(() => announce(summary()), 700);
}
const announce = (words) => say(at("status"), words);

function summary() {
  const place = state.view === "plane" ? planeScores(state.query, keysOf(state)) : null;
  const quiet = NORMALIZERS.filter((n) => silent(look(n, place ?? scoresNow(n), taskOf(state)))).map((n) => n.title);
  return quiet.length ? `Gradient exactly 0 at every score: ${quiet.join(", ")}.` : "Every normalizer sends a gradient back.";
}

// --- the beginning ---------------------------------------------------------------------------------------------------------

function open() {
  state = fromAddress(location.hash.slice(1));
  answered = state.answers.length > 0;
  built = "";
  draw(true);
}

for (const view of VIEWS) at(`to-${view}`).addEventListener("click", () => change({ view }));
at("sentence").addEventListener("input", () => change({ words: split(at("sentence").value), steps: 0, walked: 0 }));
at("sentence").addEventListener("change", () => { at("sentence").value = state.words.join(" "); });
at("wants").addEventListener("change", () => change({ wants: at("wants").value, steps: 0, walked: 0 }));
at("word").addEventListener("change", () => change({ word: Number(at("word").value), steps: 0, walked: 0 }));
at("target").addEventListener("input", () => change({ target: within(at("target").value, -LIMITS.value, LIMITS.value, state.target), steps: 0, walked: 0 }));
at("rate").addEventListener("change", () => change({ rate: Number(at("rate").value), steps: 0, walked: 0 }));
at("one").addEventListener("click", () => step(1));
at("fifty").addEventListener("click", () => run(50));
at("back").addEventListener("click", () => { cancelAnimationFrame(running); step(0); });
addEventListener("pointerdown", () => cancelAnimationFrame(running));
addEventListener("keydown", () => cancelAnimationFrame(running));
addEventListener("hashchange", open);
addEventListener("pagehide", () => { if (location.hash.slice(1) !== toAddress(state)) save(); });
addEventListener("resize", () => { if (state.view === "plane") drawPlanes(); });
open();
