// What the visitor has set, and how it is written into the address: after a reload or in a sent link it is all there.

const LIMITS = {
  words: 8, letters: 16, score: 20, temperature: [0.1, 10], value: 99, query: 2.4, steps: 1000,
};
const RATES = [0.1, 0.3, 1, 3];
const VIEWS = ["scores", "plane", "guess"];
const SCORES = [1.2, 0.4, 0.8, -0.6, 0.1, -1.1, 0.6, -0.3];
const VALUES = [1, 2, 3, 4, 5, 6, 7, 8];

const defaults = () => ({
  view: "scores",
  words: split(document.getElementById("lab").dataset.sentence),
  scores: SCORES,
  temperature: 1,
  wants: "word", // or "value"
  word: 2, // which word the loss wants more weight on
  values: VALUES,
  target: 4.5,
  along: 2, // along whose score the staircase is drawn
  rate: 1,
  steps: 0, // taken from the scores
  query: [0.1, 0.3],
  walked: 0, // steps taken from the query
  seed: 1, // of the guessing rounds
  answers: [],
});
let state;

function split(sentence) {
  const words = String(sentence).split(/\s+/).filter(Boolean).map((w) => [...w].slice(0, LIMITS.letters).join(""));
  return words.length < 2 ? [...words, "…", "…"].slice(0, 2) : words.slice(0, LIMITS.words);
}

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const within = (text, low, high, otherwise) => {
  const x = typeof text === "string" && text.trim() === "" ? NaN : Number(text);
  return Number.isFinite(x) ? clamp(x, low, high) : otherwise;
};

// Each has its name in the address, where it is written only if it is not what the page begins with. What makes no
// sense there is passed over.
const text = (allowed) => ({ write: String, read: (t, old) => (allowed.includes(t) ? t : old) });
const number = (low, high) => ({ write: String, read: (t, old) => within(t, low, high, old) });
const integer = (high) => ({ write: String, read: (t, old) => Math.round(within(t, 0, high, old)) });
const list = (limit) => ({
  write: (a) => a.join(","),
  read: (t, old) => { const parts = t.split(","); return old.map((x, i) => within(parts[i] ?? "", -limit, limit, x)); },
});
const FIELDS = {
  view: text(VIEWS),
  words: { write: (words) => words.join(" "), read: split },
  scores: list(LIMITS.score),
  temperature: number(...LIMITS.temperature),
  wants: text(["word", "value"]),
  word: integer(LIMITS.words - 1),
  values: list(LIMITS.value),
  target: number(-LIMITS.value, LIMITS.value),
  along: integer(LIMITS.words - 1),
  rate: { write: String, read: (t, old) => (RATES.includes(Number(t)) ? Number(t) : old) },
  steps: integer(LIMITS.steps),
  query: list(LIMITS.query),
  walked: integer(LIMITS.steps),
  seed: integer(999),
  answers: {
    write: (a) => a.join(","),
    read: (t) => (t ? t.split(",").slice(0, 6).map((a) => Math.round(within(a, 0, 3, 0))) : []),
  },
};

function toAddress(s) {
  const start = defaults();
  const changed = Object.keys(FIELDS).filter((name) => FIELDS[name].write(s[name]) !== FIELDS[name].write(start[name]));
  return new URLSearchParams(changed.map((name) => [name, FIELDS[name].write(s[name])])).toString();
}

function fromAddress(fragment) {
  const s = defaults(), said = new URLSearchParams(fragment);
  for (const [name, field] of Object.entries(FIELDS)) if (said.has(name)) s[name] = field.read(said.get(name), s[name]);
  return fitToWords(s);
}

// The loss and the staircase must be about a word that is there.
function fitToWords(s) {
  const last = s.words.length - 1;
  return { ...s, word: Math.min(s.word, last), along: Math.min(s.along, last) };
}

const scoresOf = (s) => s.scores.slice(0, s.words.length);
const valuesOf = (s) => s.values.slice(0, s.words.length);
const taskOf = (s) => ({
  temperature: s.temperature,
  loss: s.wants === "word" ? wantsWord(s.word) : wantsValue(valuesOf(s), s.target),
});
