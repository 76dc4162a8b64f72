// Attention as lines: from each query to the keys, as wide as the weight; on the way back, as wide as the gradient.
const show3 = (x) => Number(x.toPrecision(2)).toString().replace("-", "−");

function linesHtml(n) {
  const d = lines[n];
  const side = (names, kind, told) => `<div class="side" role="group" aria-label="${told}">` + names.map((name, i) =>
    `<button type="button" class="token" data-token="${kind}${i}" aria-pressed="false">${escaped(name)}</button>`).join("") + "</div>";
  const heads = d.weights.map((_, h) => `<button type="button" class="head" data-head="${h}">head ${h}</button>`).join("");
  return `<div class="attend" data-map="${n}"><h3 class="what"></h3>` +
    (d.weights.length > 1 ? `<div class="heads" role="group" aria-label="heads">${heads}</div>` : "") +
    `<p class="told"></p><div class="ties${d.queries.length > 10 ? " many" : ""}">${side(d.queries, "q", "queries")}<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true"></svg>` +
    `${side(d.keys, "k", "keys")}</div></div>`;
}
const escaped = (text) => text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

function startLines(panel, back) {
  for (const box of panel.querySelectorAll(".attend")) {
    let pointed = null; // the token under the pointer or with the focus; `token` is the one that was pressed
    const draw = () => drawLines(box, back, pointed ?? token);
    for (const button of box.querySelectorAll(".token")) {
      button.addEventListener("pointerenter", () => { pointed = button.dataset.token; draw(); });
      button.addEventListener("pointerleave", () => { pointed = null; draw(); });
      button.addEventListener("focus", () => { pointed = button.dataset.token; draw(); });
      button.addEventListener("blur", () => { pointed = null; draw(); });
      button.addEventListener("click", () => { token = token === button.dataset.token ? null : button.dataset.token; draw(); save(); });
    }
    for (const button of box.querySelectorAll(".head")) {
      button.addEventListener("click", () => { head = Number(button.dataset.head); draw(); save(); });
    }
    draw();
  }
}

function drawLines(box, back, chosenToken) {
  const d = lines[box.dataset.map];
  const h = Math.min(head, d.weights.length - 1);
  const gradient = back && d.gradient;
  const values = (gradient ? d.gradient : d.weights)[h];
  const [rows, columns] = [d.queries.length, d.keys.length];
  const known = chosenToken && Number(chosenToken.slice(1)) < (chosenToken[0] === "q" ? rows : columns) ? chosenToken : null;
  let drawn = "";
  for (let q = 0; q < rows; q++) for (let k = 0; k < columns; k++) {
    const v = values[q * columns + k] / 1000;
    if (Math.abs(v) < 0.004) continue;
    const mine = !known || known === `q${q}` || known === `k${k}`;
    const opacity = known ? (mine ? 0.9 : 0.08) : 0.15 + 0.7 * Math.abs(v);
    drawn += `<line x1="0" y1="${(100 * (q + 0.5)) / rows}" x2="100" y2="${(100 * (k + 0.5)) / columns}"
      class="${v < 0 ? "neg" : "pos"}" stroke-width="${(0.5 + 9 * Math.abs(v)).toFixed(1)}" stroke-opacity="${opacity.toFixed(2)}"/>`;
  }
  box.querySelector("svg").innerHTML = drawn;
  box.classList.toggle("gradient", Boolean(gradient));
  for (const b of box.querySelectorAll(".token")) b.setAttribute("aria-pressed", b.dataset.token === token);
  for (const b of box.querySelectorAll(".head")) b.setAttribute("aria-pressed", Number(b.dataset.head) === h);
  box.querySelector(".what").textContent = gradient ? "The gradient at each score" : "Who attends to whom";
  const told = box.querySelector(".told");
  const silent = gradient && values.every((v) => v === 0);
  told.classList.toggle("cut", Boolean(silent));
  told.textContent = silent ? "Exactly 0 at every score: queries and keys learn nothing here."
    : known ? toldOf(d, values, known, gradient)
    : gradient ? "Orange: a step raises this score; blue: it lowers it. Point at a token, or tab to it."
    : "A line is as wide as the weight. Point at a token, or tab to it.";
}

function toldOf(d, values, known, gradient) {
  const i = Number(known.slice(1));
  const asks = known[0] === "q";
  const columns = d.keys.length;
  const others = asks ? d.keys : d.queries;
  const of = (j) => values[asks ? i * columns + j : j * columns + i];
  const order = others.map((_, j) => j).filter((j) => of(j) !== 0).sort((a, b) => Math.abs(of(b)) - Math.abs(of(a)));
  const unit = gradient ? d.largest / 1000 : 0.001;
  const list = order.slice(0, 5).map((j) => `${others[j]} ${show3(of(j) * unit)}`).join(", ");
  const name = (asks ? d.queries : d.keys)[i];
  if (!order.length) return gradient ? `${name}: no gradient.` : `${name}: no weight.`;
  return (gradient ? `${name}, gradient at the scores with ` : asks ? `${name} attends to ` : `${name} is attended to by `) + list;
}

