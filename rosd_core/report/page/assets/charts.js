"use strict";
// The charts: Observable Plot, in the colours of the page.
const STYLE = { background: "transparent", color: "inherit", fontFamily: "inherit", fontSize: "12px", overflow: "visible" };

function drawAccuracy(rows, keys) {
  const box = byId("accuracy-chart");
  const domains = [...new Set(rows.map((row) => row.domain))];
  const colors = domains.map((_, n) => d3.schemeObservable10[n % 10]);
  box.replaceChildren(
    make("div", { class: "legend" }, ...domains.map((domain, n) => {
      const trained = rows.find((row) => row.domain === domain).trained;
      return make("span", {}, make("i", { style: `border-color: ${colors[n]}`, class: trained ? "" : "out" }), domain);
    })),
    Plot.plot({
      style: STYLE, width: box.clientWidth || 640, height: 330, marginLeft: 44, marginRight: 20, marginTop: 30, marginBottom: 38,
      ariaLabel: "Accuracy by iteration and domain", ariaDescription: "The table below holds the same numbers.",
      x: { type: "point", domain: keys, label: "iteration" },
      y: { domain: [0, 100], grid: true, label: "accuracy, %" },
      color: { domain: domains, range: colors },
      marks: [
        Plot.areaY(rows, { x: "iteration", y1: "low", y2: "high", fill: "domain", z: "domain", fillOpacity: 0.12 }),
        Plot.lineY(rows.filter((row) => row.trained), { x: "iteration", y: "mean", stroke: "domain", z: "domain", strokeWidth: 2 }),
        Plot.lineY(rows.filter((row) => !row.trained), { x: "iteration", y: "mean", stroke: "domain", z: "domain", strokeWidth: 2, strokeDasharray: "5,4" }),
        Plot.dot(rows, {
          x: "iteration", y: "mean", fill: "domain", r: 3.5,
          title: (d) => `${d.domain}, ${d.iteration}\n${d.mean.toFixed(1)} % [${d.low.toFixed(1)}, ${d.high.toFixed(1)}]`, tip: true,
        }),
      ],
    }),
  );
}

// A small chart of one quantity: by optimizer step, or by iteration with an interval where there is one.
function smallChart({ name, text, unit, x, rows, starts }) {
  const width = Math.max(260, byId("training-charts").clientWidth / Math.max(1, Math.floor(byId("training-charts").clientWidth / 320)) - 16);
  const step = x === "step";
  const marks = [
    ...(rows.some((row) => row.low !== undefined && row.low !== null) ? [Plot.areaY(rows, { x, y1: "low", y2: "high", fillOpacity: 0.15, fill: "#4269d0" })] : []),
    Plot.lineY(rows, { x, y: "value", stroke: "#4269d0", strokeWidth: step ? 1.3 : 2 }),
    ...(step && starts.length >= rows.length ? [Plot.dot(rows, { x, y: "value", fill: "#4269d0", r: 3 })] : []),
    ...(step ? [
      Plot.ruleX(starts, { x: "step", strokeOpacity: 0.3 }),
      Plot.text(starts, { x: "step", text: "iteration", frameAnchor: "top", dx: 3, textAnchor: "start", fillOpacity: 0.7 }),
    ] : [Plot.dot(rows, { x, y: "value", fill: "#4269d0", r: 3 })]),
    Plot.tip(rows, Plot.pointerX({ x, y: "value", title: (d) => `${step ? "step " + d.step : d.iteration}: ${d.value.toPrecision(4)} ${unit}` })),
  ];
  return make("div", { class: "chart" }, make("h3", {}, name), make("p", {}, text),
    Plot.plot({
      style: STYLE, width, height: 185, marginLeft: 48, marginTop: 28, marginBottom: 36, ariaLabel: `${name} by ${x}`,
      x: step ? { label: "optimizer step", tickFormat: (value) => (Number.isInteger(value) ? String(value) : "") } : { type: "point", label: "iteration" },
      y: { grid: true, label: unit, zero: true, nice: true, tickFormat: (value) => String(Number(value.toPrecision(4))), ticks: 4 }, marks,
    }));
}

// A study: an arm per row, in and out of domain side by side.
function drawStudy({ points }, box) {
  const arms = [...new Set(points.map((point) => point.arm))];
  const width = Math.min(box.clientWidth || 640, 1100);
  const left = Math.min(0.45 * width, 8 + 6.7 * Math.max(...arms.map((arm) => arm.length)));
  box.querySelector("div").replaceChildren(Plot.plot({
    style: STYLE, width, height: 60 + 20 * arms.length, marginLeft: left, marginBottom: 36,
    ariaLabel: "Accuracy of each arm", ariaDescription: "The table below holds the same numbers.",
    x: { label: "accuracy, %", grid: true, nice: true }, y: { domain: arms, label: null }, fx: { label: null, domain: ["in domain", "out of domain"] },
    marks: [
      Plot.ruleY(points.filter((p) => p.seeds > 1), { fx: "place", y: "arm", x1: "low", x2: "high", strokeWidth: 3, strokeOpacity: 0.4 }),
      Plot.dot(points, {
        fx: "place", y: "arm", x: "mean", fill: "#4269d0", r: 4, tip: true,
        title: (p) => `${p.setting}, ${p.place}: ${p.mean.toFixed(1)} %` + (p.seeds > 1 ? ` [${p.low.toFixed(1)}, ${p.high.toFixed(1)}]` : "") + `, ${p.seeds} seed${p.seeds > 1 ? "s" : ""}`,
      }),
    ],
  }));
}

function drawCharts(charts) {
  charts.studies.forEach((study, n) => drawStudy(study, byId(`study-${n}`)));
  drawAccuracy(charts.accuracy, charts.keys);
  byId("training-charts").replaceChildren(...charts.training.map(smallChart));
}
