"use strict";
// Bars of what remains, and buttons for what was lost.
function drawFunnels(charts, index, choose) {
  const rows = charts.funnels;
  for (const { iteration, wrong, correct, matches, tokens } of rows) {
    const box = make("details", rows.length === 1 || iteration === rows[0].iteration ? { open: "" } : {},
      make("summary", {}, `${iteration}: ${summaryOf(wrong, correct, tokens)}`));
    for (const [kind, bars] of [["wrong", wrong], ["correct", correct]]) {
      const grid = make("div", { class: "funnel", "data-kind": kind });
      for (const bar of bars) grid.append(...barOf(bar, bars[0].rows, iteration, kind, choose));
      if (kind === "wrong" && matches.length) grid.append(matchesOf(matches, iteration, choose));
      box.append(grid);
    }
    byId("funnels").append(box);
  }
}

function summaryOf(wrong, correct, tokens) {
  const trained = (bars) => bars[bars.length - 1].rows;
  const share = (part, whole) => (whole ? ` (${(100 * part / whole).toFixed(0)} %)` : "");
  return `${wrong[0].rows} wrong rollouts, ${trained(wrong)} trained on with ${tokens.wrong_supervised} of their `
    + `${tokens.wrong} tokens${share(tokens.wrong_supervised, tokens.wrong)}; ${correct[0].rows} correct, `
    + `${trained(correct)} trained on with ${tokens.correct_supervised} of ${tokens.correct} tokens`;
}

function barOf(bar, most, iteration, kind, choose) {
  const width = most ? (100 * bar.rows) / most : 0;
  const nodes = [
    make("span", {}, `${bar.rows} ${bar.label}`),
    make("div", { class: "bar", style: `width: ${width}%`, "aria-hidden": "true" }),
  ];
  if (bar.lost.length) {
    const lost = make("div", { class: "lost" }, "lost: ");
    for (const { reason, rows, text } of bar.lost) {
      lost.append(make("button", {
        type: "button",
        onclick: () => choose({ iteration, verdict: kind === "wrong" ? "0" : "1", outcome: `${bar.step}:${reason}` }),
      }, `${rows}: ${text}`));
    }
    nodes.push(lost);
  }
  return nodes;
}

function matchesOf(matches, iteration, choose) {
  const box = make("div", { class: "lost" }, "first quotes: ");
  for (const { match, rows } of matches) {
    box.append(make("button", {
      type: "button", onclick: () => choose({ iteration, verdict: "0", match }),
    }, `${rows} ${match === "none" ? "not found" : match}`));
  }
  return box;
}
