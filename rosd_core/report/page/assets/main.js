"use strict";
const FILTERS = ["iteration", "domain", "verdict", "outcome", "match", "divergence", "text", "order"];

function fill(select, options) {
  select.append(...options.map(([value, label]) => make("option", { value }, label)));
}

// Outcomes and matches are those of all rollouts, whether the page holds them or not.
function fillFilters(index, funnels) {
  const bars = funnels.flatMap(({ wrong, correct }) => [...wrong, ...correct]);
  const lost = new Map(bars.flatMap((bar) => bar.lost.map(({ reason, text }) => [`${bar.step}:${reason}`, text])));
  const matches = new Set(funnels.flatMap((funnel) => funnel.matches.map(({ match }) => match)));
  fill(byId("f-iteration"), [["", "all"], ...index.iterations.map((name) => [name, name])]);
  fill(byId("f-domain"), [["", "all"], ...[...new Set(index.problems.map((p) => p.domain))].map((name) => [name, name])]);
  fill(byId("f-outcome"), [["", "any"], ["trained", "trained on"], ...lost]);
  fill(byId("f-match"), [["", "any"], ...[...matches].map((name) => [name, name === "none" ? "not found" : name])]);
}

function filterValues() {
  return Object.fromEntries(FILTERS.map((name) => [name, byId(`f-${name}`).value]));
}

function setUpTheme() {
  const names = { "": "as the system", light: "light", dark: "dark" };
  const order = Object.keys(names), root = document.documentElement, button = byId("theme");
  button.addEventListener("click", () => {
    const next = order[(order.indexOf(root.dataset.theme ?? "") + 1) % order.length];
    if (next) root.dataset.theme = next; else delete root.dataset.theme;
    button.querySelector("span").textContent = names[next];
  });
}

function rolloutOfAddress(index, list) {
  const [, coded] = location.hash.match(/^#rollout=(.+)$/) ?? [];
  if (!coded) return ["", -1];
  let name = coded;
  try { name = decodeURIComponent(coded); } catch { /* not written by this page: taken as it is */ }
  for (let r = 0; r < list.count; r++) if (`${index.iterations[index.iteration[r]]}/${list.id(r)}` === name) return [name, r];
  return [name, -1];
}

async function main() {
  setUpTheme();
  const charts = JSON.parse(byId("charts").textContent);
  drawCharts(charts);
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; drawCharts(charts); } });
  const index = await block("index"), texts = await block("texts");
  let detail = null;
  const list = new RolloutList(index, texts, (r, named) => detail.show(r, named));
  detail = new Detail(index, texts, list);
  fillFilters(index, charts.funnels);
  const apply = () => list.filter(filterValues());
  let timer = 0;
  byId("filters").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(apply, 100); });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", () => setTimeout(apply));
  drawFunnels(charts, index, (chosen) => {
    byId("filters").reset();
    for (const [name, value] of Object.entries(chosen)) byId(`f-${name}`).value = value;
    apply();
    if (list.shown.length) list.choose(0);
    byId("rollouts").scrollIntoView();
    byId("list").focus({ preventScroll: true });
  });
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !/INPUT|SELECT|TEXTAREA/.test(event.target.tagName)) { event.preventDefault(); byId("f-text").focus(); }
  });
  apply();
  const followAddress = () => {
    const [name, linked] = rolloutOfAddress(index, list);
    byId("missing").textContent = name && linked < 0 ? `${name} is not on this page (report.page_mb limits it).` : "";
    if (linked >= 0 && linked !== list.chosen) list.chooseRollout(linked);
    if (name) byId("rollouts").scrollIntoView();
    return linked >= 0;
  };
  addEventListener("hashchange", followAddress);
  if (followAddress()) { /* it is shown */ }
  else if (list.count) list.chooseRollout(worthALook(index), false);
  document.body.dataset.ready = "true";
}

// The rollout that shows a correction best; else the first that is trained on.
function worthALook(index) {
  const most = index.worth.reduce((best, value) => Math.max(best, value), -1);
  return Math.max(0, most >= 0 ? index.worth.indexOf(most) : index.outcome.indexOf(-1));
}

main().catch((error) => {
  const note = byId("broken");
  note.hidden = false;
  note.textContent = `The page could not be drawn: ${error.message}. It needs a browser of 2023 or later.`;
  throw error;
});
