"use strict";
// One rollout: problem, verdict, response, reflection, and what became of its problem.
class Detail {
  constructor(index, texts, list) {
    Object.assign(this, { index, texts, list, box: byId("detail"), wanted: -1 });
    this.of = new Map(); // problem -> its rollouts
    index.problem.forEach((problem, r) => this.of.set(problem, [...(this.of.get(problem) ?? []), r]));
  }

  // `named`: the address names it, so that it can be sent to others.
  async show(r, named = true) {
    this.wanted = r;
    const [chunk, vocabulary] = await Promise.all([block(`tokens-${Math.floor(r / this.index.chunk)}`), block("vocabulary")]);
    if (this.wanted !== r) return; // another one was chosen in the meantime
    const entry = chunk[r % this.index.chunk], quotes = this.texts.quotes[r];
    if (entry.token) entry.name = (n) => vocabulary[entry.token[n]];
    const card = make("div", { id: "card", role: "status", "aria-label": "The token" },
      make("p", { class: "key" }, "No token of it is supervised."));
    const of = (token) => entry.divergence?.[token.dataset.n] ?? 0;
    const onToken = (n, token) => {
      this.box.querySelectorAll(".current").forEach((other) => other.classList.remove("current"));
      token.classList.add("current");
      drawCard(card, entry, n, vocabulary);
    };
    const response = drawResponse(this.texts.response[r], entry, quotes, onToken);
    this.box.replaceChildren(
      this.title(r), ...this.problem(r), ...this.idea(r), this.heading("Response"), this.key(entry, quotes.length > 0), response, card,
      ...this.quotes(r), this.heading("The same problem, sample by sample"), this.group(r), ...this.peer(r));
    this.box.scrollTop = 0;
    const tokens = [...response.querySelectorAll(".token")];
    const most = tokens.reduce((best, token) => (of(token) > of(best) ? token : best), tokens[0]);
    if (most) onToken(Number(most.dataset.n), most);
    if (named) history.replaceState(null, "", `#rollout=${encodeURIComponent(`${this.iteration(r)}/${this.list.id(r)}`)}`);
  }

  heading(text) { return make("h3", {}, text); }

  iteration(r) { return this.index.iterations[this.index.iteration[r]]; }

  title(r) {
    const good = this.index.success[r] === 1, lost = this.list.outcome(r), tokens = this.index.tokens[r];
    const state = lost ? `Not trained on: ${lost[2]}.` : `Trained on: ${this.index.supervised[r]} of ${tokens} tokens are supervised.`;
    return make("div", {},
      make("h3", {}, make("span", { class: good ? "good" : "bad" }, good ? "✓ correct" : "✗ wrong"), ` ${this.iteration(r)} `, ...visible(this.list.id(r))),
      make("p", {}, state));
  }

  problem(r) {
    const problem = this.index.problems[this.index.problem[r]];
    const facts = make("dl", {});
    const fact = (name, value) => {
      if (value !== null && value !== "") facts.append(make("dt", {}, name), make("dd", {}, ...visible(String(value))));
    };
    fact("right answer", problem.answer);
    fact("answer found", this.texts.parsed[r] ?? `none (${this.texts.format[r]})`);
    fact("reward", this.index.reward[r]);
    fact("grader", this.texts.feedback[r]);
    if (this.texts.finish[r] === "length") fact("cut off", "at rollout.max_new_tokens");
    const nodes = [this.heading("Problem"), this.text(problem.prompt, "text prose"), facts];
    if (problem.system) nodes.splice(1, 0, this.text(problem.system, "text prose"));
    if (problem.solution) nodes.push(make("details", {}, make("summary", {}, "Reference solution"), this.text(problem.solution)));
    return nodes;
  }

  text(value, kind = "text") { return make("div", { class: kind }, ...visible(value)); }

  key(entry, quoted) {
    const at = entry.at ?? [];
    if (!at.length) return make("p", { class: "key" }, "");
    const stored = entry.divergence && entry.divergence.length;
    return make("p", { class: "key" }, make("span", { class: "prefix" }, `preserved prefix: ${at[0]} tokens`),
      quoted ? make("span", { class: "quote" }, "quote") : null,
      make("span", { class: "token", style: `--d: ${stored ? 0.6 : 0}` }, stored ? "supervised, darker where the teacher disagrees" : "supervised; no teacher's distribution is stored"));
  }

  idea(r) {
    const idea = this.texts.idea[r];
    return idea === null ? [] : [this.heading("Corrective idea"), this.text(idea, "text prose")];
  }

  quotes(r) {
    const { raw, quotes } = this.texts, nodes = [];
    if (quotes[r].length) {
      nodes.push(this.heading("Quotes"), make("ul", {}, ...quotes[r].map(([quote, match]) =>
        make("li", {}, make("code", {}, ...visible(quote)), ` (${match === "none" ? "not found" : match})`))));
    }
    if (raw[r] !== null) nodes.push(make("details", { open: "" }, make("summary", {}, "The reflector's answer"), this.text(raw[r])));
    return nodes;
  }

  group(r) {
    const body = make("tbody", {});
    for (const [n, iteration] of this.index.iterations.entries()) {
      const own = this.of.get(this.index.problem[r]).filter((other) => this.index.iteration[other] === n);
      const right = own.filter((other) => this.index.success[other]).length;
      body.append(make("tr", {}, make("th", { scope: "row" }, iteration),
        make("td", {}, own.length ? `${right} of ${own.length} correct` : "not sampled"), make("td", {}, ...own.map((other) => this.sample(other, r)))));
    }
    return make("div", { class: "scroll group" }, make("table", {}, body));
  }

  sample(other, current) {
    const good = this.index.success[other] === 1;
    return make("button", {
      type: "button", class: good ? "good" : "bad", "aria-current": other === current ? "true" : null,
      "aria-label": `sample ${this.index.sample[other]}, ${good ? "correct" : "wrong"}`, onclick: () => this.list.chooseRollout(other),
    }, good ? "✓" : "✗");
  }

  peer(r) {
    const peer = this.texts.peer[r];
    if (peer < 0) return [];
    return [make("details", {}, make("summary", {}, `Correct peer: ${this.texts.peer_id[r]}`), this.text(this.texts.response[peer]))];
  }
}
