// The controls, and the one way in which anything changes: change(what) sets it, draws it, and writes the address.

const BUILD = { scores: buildCards, plane: buildPlanes, guess: () => {} };
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
  if (shape !== built) {
    buildDials();
    BUILD[state.view]();
    built = shape;
  }
  if (state.view !== "guess") drawControls();
  DRAW[state.view]();
  tellSoon();
}

function showView() {
  for (const view of VIEWS) {
    at(`view-${view}`).hidden = view !== state.view;
    set(at(`to-${view}`), "aria-pressed", view === state.view);
  }
  at("controls").hidden = at("held").hidden = state.view === "guess";
}

// --- the controls ----------------------------------------------------------------------------------------------------

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

// --- steps -----------------------------------------------------------------------------------------------------------

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

// --- what a screen reader is told, once the hand is still ------------------------------------------------------------

function tellSoon() {
  clearTimeout(telling);
  if (state.view !== "guess") telling = setTimeout(() => announce(summary()), 700);
}
const announce = (words) => say(at("status"), words);

function summary() {
  const shownNow = state.view === "plane" ? planes : cards;
  const quiet = shownNow.filter((c) => c.card.classList.contains("silent")).map((c) => c.n.title);
  return `Gradient exactly 0 at every score: ${quiet.join(", ")}.`;
}

// --- the beginning ---------------------------------------------------------------------------------------------------

function open() {
  state = fromAddress(location.hash.slice(1));
  answered = state.answers.length > 0;
  built = "";
  draw(true);
}

for (const view of VIEWS) at(`to-${view}`).addEventListener("click", () => change({ view }));
const onChange = (id, kind, patch) =>
  at(id).addEventListener(kind, () => change({ ...patch(at(id).value), steps: 0, walked: 0 }));
onChange("sentence", "input", (text) => ({ words: split(text) }));
onChange("wants", "change", (wants) => ({ wants }));
onChange("word", "change", (i) => ({ word: Number(i) }));
onChange("target", "input", (text) => ({ target: within(text, -LIMITS.value, LIMITS.value, state.target) }));
onChange("rate", "change", (rate) => ({ rate: Number(rate) }));
at("sentence").addEventListener("change", () => { at("sentence").value = state.words.join(" "); });
at("one").addEventListener("click", () => step(1));
at("fifty").addEventListener("click", () => run(50));
at("back").addEventListener("click", () => { cancelAnimationFrame(running); step(0); });
addEventListener("pointerdown", () => cancelAnimationFrame(running));
addEventListener("keydown", () => cancelAnimationFrame(running));
addEventListener("hashchange", open);
addEventListener("pagehide", () => { if (location.hash.slice(1) !== toAddress(state)) save(); });
addEventListener("resize", () => { if (state.view === "plane") drawPlanes(); });
open();
