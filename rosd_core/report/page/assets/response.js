"use strict";
// A response as text: the preserved prefix, the quotes, and every supervised token by its divergence.
const LONGEST = 20000; // characters that are shown at first
const LN2 = Math.LN2 * 1000;

// The text in pieces that look alike: a piece per supervised token, cut where a quote begins or ends.
// A supervised token without text of its own is an empty piece.
function segments(text, entry, quotes) {
  const { ends, at = [] } = entry;
  const number = new Map(at.map((t, n) => [t, n]));
  const cuts = new Map([[0, null]]), empty = [];
  let begin = 0, before = null;
  ends.forEach((end, t) => {
    const token = number.get(t) ?? null;
    if (end === begin) {
      if (token !== null) empty.push({ start: begin, end: begin, token, quoted: false });
      return;
    }
    if (token !== null || before !== null) cuts.set(begin, token);
    [begin, before] = [end, token];
  });
  if (begin < text.length) cuts.set(begin, null);
  const places = quotes.filter(([, , start]) => start >= 0).map(([, , start, end]) => [start, end]);
  const starts = [...new Set([...cuts.keys(), ...places.flat()])].filter((start) => start < text.length).sort((a, b) => a - b);
  let token = null;
  const pieces = starts.map((start, n) => {
    if (cuts.has(start)) token = cuts.get(start);
    const end = starts[n + 1] ?? text.length;
    return { start, end, token, quoted: places.some(([from, to]) => from <= start && end <= to) };
  });
  return [...empty, ...pieces].sort((a, b) => a.start - b.start); // stable: those without text first
}

function drawResponse(text, entry, quotes, onToken) {
  const box = make("div", { class: "text", role: "group", "aria-label": "Response; arrow keys go from token to token" });
  const first = entry.at && entry.at.length ? (entry.at[0] ? entry.ends[entry.at[0] - 1] : 0) : 0;
  const show = (from, to) => {
    const nodes = [];
    if (from > 0) nodes.push(more(`${from} characters before`));
    let told = { prefix: false, quote: false, first: false };
    for (const piece of segments(text, entry, quotes)) {
      if (piece.end < from || piece.start > to || (piece.start === to && to < text.length)) continue;
      nodes.push(...segmentNodes(text.slice(Math.max(piece.start, from), Math.min(piece.end, to)), piece, entry, told, onToken));
    }
    if (to < text.length) nodes.push(more(`${text.length - to} characters after`));
    box.replaceChildren(...nodes);
    const start = box.querySelector(".token");
    if (start) start.tabIndex = 0;
  };
  const more = (label) => make("button", { type: "button", onclick: () => show(0, text.length) }, `show ${label}`);
  const from = text.length > LONGEST ? Math.max(0, first - LONGEST / 4) : 0;
  show(from, Math.min(text.length, from + LONGEST));
  box.addEventListener("keydown", (event) => moveFocus(event, box));
  return box;
}

function segmentNodes(text, piece, entry, told, onToken) {
  const nodes = [], supervised = piece.token !== null;
  const say = (what) => nodes.push(make("span", { class: "sr" }, ` [${what}] `));
  if (!told.prefix && !supervised && entry.at && entry.at.length) { say("preserved prefix"); told.prefix = true; }
  if (piece.quoted !== told.quote) { say(piece.quoted ? "quote begins" : "quote ends"); told.quote = piece.quoted; }
  const classes = [piece.quoted ? "quote" : "", supervised ? "token" : "prefix"];
  if (!supervised) return [...nodes, make("span", { class: classes.join(" ") }, ...visible(text))];
  if (!told.first) { say("supervised from here"); classes.push("first"); told.first = true; }
  const n = piece.token, divergence = entry.divergence ? entry.divergence[n] : undefined;
  const shade = divergence === undefined ? 0 : Math.min(0.85, Math.sqrt(Math.max(0, divergence) / LN2));
  const token = make("span", {
    class: classes.join(" "), style: `--d: ${shade.toFixed(3)}`, tabindex: -1, role: "button", "data-n": n,
  }, ...(text ? visible(text) : [standIn(entry, n)]));
  token.addEventListener("focus", () => onToken(n, token));
  token.addEventListener("mouseenter", () => onToken(n, token));
  token.addEventListener("click", () => token.focus());
  return [...nodes, token];
}

// The sign of a token without text: the rest of a character that began before it, or an end token.
function standIn(entry, n) {
  return entry.name && /^<[0-9a-f ]+>$/.test(entry.name(n)) ? "▫" : "■";
}

function moveFocus(event, box) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step || !event.target.classList.contains("token")) return;
  event.preventDefault();
  const tokens = [...box.querySelectorAll(".token")];
  const next = tokens[tokens.indexOf(event.target) + step];
  if (next) { event.target.tabIndex = -1; next.tabIndex = 0; next.focus(); }
}

// What student and teacher say about one supervised token.
function drawCard(card, entry, n, vocabulary) {
  if (!entry.token) {
    card.replaceChildren(make("p", {}, `Token ${entry.at[n]}; no distribution is stored for it.`));
    return;
  }
  const head = make("p", {}, `Token ${entry.at[n]} `, make("code", {}, ...visible(vocabulary[entry.token[n]])));
  const facts = [];
  if (entry.student.length) facts.push(`student ${percent(entry.student[n])}`);
  if (entry.teacher.length) facts.push(`teacher ${percent(entry.teacher[n])}`);
  if (entry.divergence.length) facts.push(`divergence ${(entry.divergence[n] / 1000).toFixed(3)} nats of at most 0.693`);
  head.append(": " + facts.join(", "));
  const tables = make("div", { class: "two" });
  for (const who of ["student", "teacher"]) {
    const top = entry[`${who}_top`];
    if (top.length) tables.append(topTable(who, top[n], entry[`${who}_top_logp`][n], vocabulary, entry.token[n]));
  }
  card.replaceChildren(head, tables);
}

function topTable(who, ids, logps, vocabulary, sampled) {
  const rows = ids.map((id, k) => make("tr", {},
    make("td", {}, make("code", {}, ...visible(vocabulary[id])), id === sampled ? " ← sampled" : ""),
    make("td", {}, percent(logps[k])),
    make("td", {}, make("meter", { min: 0, max: 1, value: Math.exp(logps[k] / 1000), "aria-hidden": "true" }))));
  return make("table", {}, make("caption", { class: "sr" }, `likeliest tokens of the ${who}`),
    make("thead", {}, make("tr", {}, make("th", { scope: "col", colspan: 3 }, who === "teacher" ? "teacher (with the idea or other context)" : "student"))),
    make("tbody", {}, ...rows));
}
