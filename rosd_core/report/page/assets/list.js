"use strict";
// The filtered list of rollouts. Only the rows in view are in the document.
const ROW = 44; // pixels, as in the style

class RolloutList {
  constructor(index, texts, onChoose) {
    Object.assign(this, { index, texts, onChoose, shown: [], at: -1, haystack: null });
    this.box = byId("list");
    this.box.addEventListener("scroll", () => this.draw());
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (row) this.choose(Number(row.dataset.at));
    });
    new ResizeObserver(() => this.draw()).observe(this.box);
  }

  get count() { return this.index.sample.length; }

  id(r) { return `${this.index.problems[this.index.problem[r]].problem_id}/${this.index.sample[r]}`; }

  domain(r) { return this.index.problems[this.index.problem[r]].domain; }

  outcome(r) {
    const code = this.index.outcome[r];
    return code < 0 ? null : this.index.outcomes[code];
  }

  // Filter by the values of the form; an empty value lets everything pass.
  filter({ iteration, domain, verdict, outcome, match, divergence, text, order }) {
    const i = this.index;
    const wanted = text.trim().toLowerCase();
    if (wanted && !this.haystack) this.haystack = Array.from({ length: this.count }, (_, r) => this.searched(r));
    const tests = [
      iteration && ((r) => i.iterations[i.iteration[r]] === iteration),
      domain && ((r) => this.domain(r) === domain),
      verdict && ((r) => String(i.success[r]) === verdict),
      outcome && ((r) => outcomeKey(i, r) === outcome),
      match && ((r) => i.match[r] >= 0 && i.matches[i.match[r]] === match),
      divergence > 0 && ((r) => i.divergence[r] >= 1000 * divergence),
      wanted && ((r) => this.haystack[r].includes(wanted)),
    ].filter(Boolean);
    this.shown = [];
    for (let r = 0; r < this.count; r++) if (tests.every((test) => test(r))) this.shown.push(r);
    if (order) this.shown.sort((a, b) => i.divergence[b] - i.divergence[a] || a - b);
    byId("count").textContent = `${this.shown.length} of ${this.count} rollouts`;
    byId("rows").style.height = `${this.shown.length * ROW}px`;
    this.at = this.shown.indexOf(this.chosen);
    if (this.at < 0) this.box.scrollTop = 0; else this.reveal();
    this.draw();
  }

  searched(r) {
    const { prompt, solution } = this.index.problems[this.index.problem[r]];
    return [this.id(r), prompt, solution ?? "", this.texts.response[r], this.texts.idea[r]].join("\n").toLowerCase();
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW) - 5);
    const last = Math.min(this.shown.length, first + Math.ceil(this.box.clientHeight / ROW) + 10);
    const rows = [];
    for (let at = first; at < last; at++) rows.push(this.row(at));
    if (!this.shown.length) rows.push(make("p", {}, "No rollout on this page matches. Clear shows all."));
    byId("rows").replaceChildren(...rows);
    const current = this.at >= first && this.at < last ? `row-${this.at}` : "";
    this.box.setAttribute("aria-activedescendant", current);
  }

  row(at) {
    const r = this.shown[at], i = this.index, lost = this.outcome(r);
    const good = i.success[r] === 1;
    const note = lost ? lost[2] : `${i.supervised[r]} of ${i.tokens[r]} tokens supervised`
      + (i.divergence[r] >= 0 ? `, divergence up to ${(i.divergence[r] / 1000).toFixed(2)}` : "");
    return make("div", {
      class: "row", role: "option", id: `row-${at}`, "data-at": at, style: `top: ${at * ROW}px`,
      "aria-selected": String(at === this.at), "aria-posinset": at + 1, "aria-setsize": this.shown.length,
    },
      make("span", { class: good ? "good" : "bad" }, good ? "✓ correct " : "✗ wrong "),
      `${i.iterations[i.iteration[r]]} `, make("code", {}, ...visible(this.id(r))), make("small", {}, ...visible(note)));
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW) - 1);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (!(event.key in moves) || !this.shown.length) return;
    event.preventDefault();
    this.choose(Math.min(this.shown.length - 1, Math.max(0, this.at + moves[event.key])));
  }

  choose(at) {
    this.at = at;
    this.chosen = this.shown[at];
    this.reveal();
    this.draw();
    this.onChoose(this.chosen);
  }

  // Choose a rollout by its number, also one that the filters hide.
  chooseRollout(r, named = true) {
    this.chosen = r;
    this.at = this.shown.indexOf(r);
    if (this.at >= 0) this.reveal();
    this.draw();
    this.onChoose(r, named);
  }

  reveal() {
    const top = this.at * ROW, box = this.box;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + ROW > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW - box.clientHeight;
  }
}

function outcomeKey(index, r) {
  const code = index.outcome[r];
  return code < 0 ? "trained" : `${index.outcomes[code][0]}:${index.outcomes[code][1]}`;
}
