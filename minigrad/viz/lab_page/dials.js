// Dials: a slider, and a field in which the same number may be typed.

let dials = [];

function dial({ name, label, range: [low, high, step], limits, get, put, toSlider = (x) => x, fromSlider = (x) => x }) {
  const id = `dial-${name}`;
  const slider = el("input", { type: "range", id, min: low, max: high, step });
  const field = numberField(`${label}, typed`, limits, get, put);
  slider.addEventListener("input", () => put(fromSlider(Number(slider.value))));
  const box = el("div", { class: "dial" }, el("label", { for: id }, label), slider, field.box);
  return {
    box,
    show() {
      field.show();
      slider.value = toSlider(get());
      set(slider, "aria-valuetext", fixed(get(), 2));
    },
  };
}

// While one is typing, the field is left alone.
function numberField(label, [low, high], get, put) {
  const box = el("input", { type: "number", step: "any", min: low, max: high, "aria-label": label });
  box.addEventListener("input", () => {
    const x = within(box.value, low, high, null);
    if (x !== null) put(x);
  });
  const show = () => { if (document.activeElement !== box) box.value = rounded(get()); };
  box.addEventListener("change", () => { box.value = rounded(get()); });
  return { box, show };
}

const replaced = (name, i, x) => ({ [name]: state[name].with(i, x) });

function scoreDial(word, i) {
  const made = dial({
    name: `score-${i}`, label: word, range: [-4, 4, 0.1], limits: [-LIMITS.score, LIMITS.score],
    get: () => state.scores[i], put: (x) => change({ ...replaced("scores", i, x), along: i, steps: 0 }),
  });
  const value = numberField(`value of ${word}`, [-LIMITS.value, LIMITS.value], () => state.values[i],
    (x) => change({ ...replaced("values", i, x), steps: 0, walked: 0 }));
  value.box.classList.add("value");
  made.box.append(el("span", { class: "value quiet", "aria-hidden": "true" }, "value"), value.box);
  return { box: made.box, show() { made.show(); value.show(); } };
}

const queryDial = (label, axis) => dial({
  name: `query-${axis}`, label, range: [-LIMITS.query, LIMITS.query, 0.1], limits: [-LIMITS.query, LIMITS.query],
  get: () => state.query[axis], put: (x) => change({ ...replaced("query", axis, x), walked: 0 }),
});

// Its slider is in powers of ten: 0.1, 1 and 10 are as far from each other.
const temperatureDial = () => dial({
  name: "temperature", label: "temperature", range: [-1, 1, 0.05], limits: LIMITS.temperature,
  get: () => state.temperature, put: (x) => change({ temperature: x }),
  toSlider: Math.log10, fromSlider: (power) => Number((10 ** power).toPrecision(2)),
});

function buildDials() {
  if (state.view === "guess") return;
  const queries = ["query, right", "query, up"];
  dials = [...(state.view === "scores" ? state.words.map(scoreDial) : queries.map(queryDial)), temperatureDial()];
  at("dials").replaceChildren(...dials.map((d) => d.box));
  at("dials").style.setProperty("--n", dials.length);
  at("word").replaceChildren(...state.words.map((w, i) => el("option", { value: i }, w)));
}
