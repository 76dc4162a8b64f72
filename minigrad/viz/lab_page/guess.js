// The third view: six questions. What is right is computed, when it is asked, by the same code as all the rest.

const GUESS_WORDS = ["my", "grandmother", "bakes", "cookies"];
let answered = true; // is the newest answer still on the screen, or already the next question?

// Numbers from 0 to 1 that depend on the seed alone (mulberry32).
function generator(seed) {
  let a = seed * 2654435761;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

// A question: what the table shows once it is answered, { n, scores, temperature, word }; options; which is right; why.
const ROUNDS = [
  (scores) => {
    const shows = { n: normalizer("softmax"), scores, temperature: 1, word: 2 };
    const d = lookAt(shows).gradient[0];
    return {
      shows,
      question: "With softmax, the loss wants more weight on “bakes”. Which way will the score of “my” move?",
      options: ["up", "down", "not at all"],
      right: d < 0 ? 0 : d > 0 ? 1 : 2,
      why: `Its gradient is ${shown(d)}, and a step goes against it. ` +
        "The weights sum to 1: what one word wins, others lose.",
    };
  },
  (scores) => {
    const ops = ["softmax", "entmax15", "hardmax", "straight_through"].map(normalizer);
    const looks = ops.map((n) => lookAt({ n, scores, temperature: 1, word: 1 }));
    const right = looks.findIndex((seen) => allZero(seen.gradient));
    return {
      shows: { n: ops[right], scores, temperature: 1, word: 1 },
      question: "Which of these sends nothing back to any score?",
      options: ops.map((n) => n.title),
      right,
      why: "Nudge any score a little: the largest is still the largest. The weights do not move, so the gradient is 0.",
    };
  },
  (scores) => {
    const most = scores.indexOf(Math.max(...scores)), n = normalizer("softmax");
    const [one, half] = [1, 0.5].map((temperature) => weigh(n, scores, temperature)[0][most]);
    const word = quoted(GUESS_WORDS[most]);
    return {
      shows: { n, scores, temperature: 0.5, word: most },
      question: `We halve softmax’s temperature, from 1 to ½. What does the largest weight, that of ${word}, do?`,
      options: ["it grows", "it shrinks", "it stays"],
      right: half > one ? 0 : half < one ? 1 : 2,
      why: `It goes from ${shown(one)} to ${shown(half)}. Half the temperature is twice the scores, so twice the lead.`,
    };
  },
  (scores) => {
    const n = normalizer("softmax"), raised = scores.map((s) => s + 1);
    const [before, after] = [scores, raised].map((x) => Math.max(...weigh(n, x, 1)[0]));
    const change = after - before, same = Math.abs(change) < 1e-12;
    return {
      shows: { n, scores: raised, temperature: 1, word: 2 },
      question: "We add 1 to every score. What do softmax’s weights do?",
      options: ["the largest grows", "they come closer together", "nothing"],
      right: same ? 2 : change > 0 ? 0 : 1,
      why: "Every exponential is e times as large, and so is their sum. Only differences between scores count.",
    };
  },
  (scores) => {
    const low = scores.with(3, Math.min(...scores) - 1.2), n = normalizer("sparsemax");
    const shows = { n, scores: low, temperature: 1, word: 3 };
    const { weights, gradient } = lookAt(shows), d = gradient[3];
    const soft = lookAt({ ...shows, n: normalizer("softmax") }).gradient[3];
    return {
      shows,
      question: `Sparsemax gives “cookies” weight ${shown(weights[3])}, and the loss wants more of it. ` +
        "What comes back to its score?",
      options: ["a large push up", "a small push up", "exactly 0"],
      right: d < -0.1 ? 0 : d < 0 ? 1 : 2,
      why: "Its score is so low that a small change of it changes no weight. " +
        `Softmax would have sent a gradient of ${shown(soft)}.`,
    };
  },
  (scores) => {
    const low = scores.with(3, Math.min(...scores) - 0.3), task = { temperature: 1, loss: wantsWord(3) };
    const end = (op) => {
      const n = normalizer(op), scoresAt = descend(low, (x) => look(n, x, task).gradient, 1, 50).at(-1);
      return look(n, scoresAt, task).weights[3];
    };
    const [soft, hard, through] = ["softmax", "hardmax", "straight_through"].map(end);
    return {
      shows: { n: normalizer("hardmax"), scores: low, temperature: 1, word: 3, steps: 50 },
      question: "The loss wants “cookies”, whose score is lowest. After 50 steps, what weight does hardmax give it?",
      options: ["1: it got there", "about a half", "0, as at the start"],
      right: hard > 0.75 ? 0 : hard > 0.25 ? 1 : 2,
      why: `Softmax has brought it to ${shown(soft, 2)}, straight-through to ${shown(through, 2)}. ` +
        `Hardmax has it at ${shown(hard, 2)}: its scores never moved.`,
    };
  },
];
const lookAt = ({ n, scores, temperature, word }) => look(n, scores, { temperature, loss: wantsWord(word) });

// The question of a round. Its scores, at most 1.2 apart and not too close, depend on the seed and the round.
function questionOf(seed, round) {
  const random = generator(seed * 10 + round);
  const order = [0, 1, 2, 3].map((i) => [random(), i]).sort((a, b) => a[0] - b[0]).map((pair) => pair[1]);
  return ROUNDS[round](order.map((place) => Math.round((0.3 + place * 0.4 - random() * 0.2) * 10) / 10));
}

function drawGuess() {
  const given = state.answers.length, over = !answered && given === ROUNDS.length;
  at("game").replaceChildren(...(over ? result() : ask(answered && given ? given - 1 : given)));
}

function ask(round) {
  const q = questionOf(state.seed, round), answer = state.answers[round], known = answer !== undefined;
  const options = q.options.map((text, i) => {
    const mark = known && i === q.right ? "✓ " : known && i === answer ? "✗ " : "";
    const button = el("button", { class: "option", type: "button" }, mark + text);
    if (known) set(button, "aria-disabled", "true");
    if (known && i === q.right) button.classList.add("right");
    else if (known && i === answer) button.classList.add("wrong");
    button.addEventListener("click", () => { if (!known) reply(i); });
    return button;
  });
  const verdict = known ? (answer === q.right ? "Right. " : "Not this time. ") : "";
  const last = round + 1 === ROUNDS.length;
  const next = el("button", { class: "next main", type: "button" }, last ? "How did I do?" : "Next");
  next.addEventListener("click", goOn);
  const see = el("a", { href: addressOf(q.shows) }, "look at it in the lab");
  const feedback = [el("p", {}, el("b", {}, verdict), q.why), el("p", {}, next, " or ", see)];
  return [
    el("p", { class: "quiet" }, `Question ${round + 1} of ${ROUNDS.length}`),
    el("h3", { tabindex: -1, id: "question" }, q.question),
    guessTable(q.shows, known),
    el("div", { class: "options", role: "group", "aria-labelledby": "question" }, ...options),
    el("div", { class: "feedback" }, ...(known ? feedback : [])),
  ];
}

// Only the scores until the answer is given.
function guessTable(shows, known) {
  const seen = lookAt(shows);
  const rows = GUESS_WORDS.map((word, i) => {
    const weight = barCell("plain"), gradient = barCell("signed"), row = el("tr", {}, el("th", { scope: "row" }, word),
      el("td", {}, fixed(shows.scores[i], 1)), weight.cell, gradient.cell);
    if (known) setBar(weight, seen.weights[i], 1);
    if (known) setBar(gradient, seen.gradient[i], 0.5, `${shown(seen.gradient[i])} ${way(seen.gradient[i])}`.trim());
    else for (const cell of [weight, gradient]) say(cell.number, "?");
    return row;
  });
  const heads = ["word", "score", "weight", "gradient"].map((t) => el("th", { scope: "col" }, t));
  const temperature = shows.temperature === 1 ? "" : `, temperature ${shows.temperature}`;
  const caption = el("caption", {}, known ? shows.n.title + temperature : "guess first");
  return el("table", { class: "rows" }, caption, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows));
}

function addressOf({ scores, temperature, word, steps = 0 }) {
  const s = { ...defaults(), words: GUESS_WORDS, temperature, word, along: word, steps };
  return "#" + toAddress({ ...s, scores: [...scores, ...s.scores.slice(scores.length)] });
}

function reply(i) {
  const round = state.answers.length, q = questionOf(state.seed, round);
  answered = true;
  change({ answers: [...state.answers, i] });
  announce(`${i === q.right ? "Right." : `Not this time: ${q.options[q.right]}.`} ${q.why}`);
  document.querySelector(".next").focus();
}

function goOn() {
  answered = false;
  drawGuess();
  at("question").focus();
}

function result() {
  const right = state.answers.filter((a, round) => a === questionOf(state.seed, round).right).length;
  const again = el("button", { class: "main", type: "button" }, "Again, with other scores");
  again.addEventListener("click", () => {
    answered = false;
    change({ seed: (state.seed % 999) + 1, answers: [] });
    at("question").focus();
  });
  const words = right === 6 ? "All six. You could explain it to a friend." :
    right >= 4 ? "What surprised you is worth a drag in the lab." : "Each surprise is worth a drag in the lab.";
  const heading = el("h3", { tabindex: -1, id: "question" }, `${right} of ${ROUNDS.length} right`);
  return [heading, el("p", {}, words), el("p", {}, again)];
}
