"use strict";
// Learning curves of all methods: the mean over seeds as a line, their range as a band.
RE.views.curves = (main, parts, query) => RE.get("curves").then((data) => {
  RE.add(main, [RE.h("h1", {}, "Learning curves")]);
  if (!data.runs.length) { RE.add(main, [RE.h("p", {}, "No training log was kept.")]); return; }
  const models = [...new Set(data.runs.map((r) => r.model))];
  const model = models.includes(query.get("model")) ? query.get("model") : models[0];
  const first = data.metrics.includes("validation_accuracy") ? "validation_accuracy" : data.metrics[0];
  const metric = data.metrics.includes(query.get("m")) ? query.get("m") : first;
  const go = (changes) => { location.hash = RE.link(["curves"], { ...Object.fromEntries(query), ...changes }); };
  const select = (label, name, values, chosen) => RE.h("label", {}, label, RE.h("select", { onchange: (e) => go({ [name]: e.target.value }) }, values.map((v) => RE.h("option", { value: v, selected: v === chosen }, v))));
  RE.add(main, [RE.h("form", { class: "filters" }, models.length > 1 && select("policy ", "model", models, model), select("metric ", "m", data.metrics, metric))]);
  const lines = RE.lines(data.runs.filter((r) => r.model === model), metric);
  if (!lines.length) { RE.add(main, [RE.h("p", {}, "No run of this policy logged it.")]); return; }
  RE.add(main, [RE.curveChart(lines, metric), RE.fold("As a table", () => [RE.curveTable(lines)])]);
  const more = data.metrics.filter((m) => m !== metric).slice(0, 5);
  const small = more.map((m) => [m, RE.lines(data.runs.filter((r) => r.model === model), m)]).filter(([, l]) => l.length);
  RE.add(main, [RE.h("div", { class: "grid" }, small.map(([m, l]) => RE.h("div", {}, RE.h("h3", {}, RE.h("a", { href: RE.link(["curves"], { ...Object.fromEntries(query), m }) }, m)), RE.curveChart(l, m, 200, false))))]);
});

// Rows of one method and configuration: {name, seeds, points: [{x, mean, low, high}]}.
RE.lines = (runs, metric) => {
  const groups = new Map();
  for (const run of runs) {
    if (!run.values[metric]) continue;
    const key = `${run.name}\u0000${run.config}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(run);
  }
  const names = [...groups.keys()].map((k) => k.split("\u0000")[0]);
  return [...groups.values()].map((members, k) => {
    const byStep = new Map();
    for (const run of members) run.steps.forEach((step, i) => {
      const value = run.values[metric][i];
      if (value === null || value === undefined) return;
      if (!byStep.has(step)) byStep.set(step, []);
      byStep.get(step).push(value);
    });
    const points = [...byStep].sort((a, b) => a[0] - b[0]).map(([x, v]) => ({ x, mean: v.reduce((a, b) => a + b, 0) / v.length, low: Math.min(...v), high: Math.max(...v) }));
    const twin = names.filter((n) => n === names[k]).length > 1 ? ` [${members[0].config.slice(0, 4)}]` : "";
    return { name: names[k] + twin, seeds: members.length, points };
  }).filter((line) => line.points.length).sort((a, b) => a.name.localeCompare(b.name));
};

RE.curveChart = (lines, metric, height = 380, legend = true) => RE.chart(`${metric} by step`, () => {
  const sets = [];
  lines.forEach((line, k) => {
    const colour = RE.COLOURS[k % RE.COLOURS.length];
    sets.push({ label: `${line.name} (${line.seeds} ${line.seeds === 1 ? "seed" : "seeds"})`, data: line.points.map((p) => ({ x: p.x, y: p.mean })), borderColor: colour, backgroundColor: colour, pointRadius: line.points.length > 40 ? 0 : 2, borderWidth: 2 });
    if (line.seeds > 1) {
      sets.push({ label: `~${line.name} low`, data: line.points.map((p) => ({ x: p.x, y: p.low })), borderColor: "transparent", pointRadius: 0 });
      sets.push({ label: `~${line.name} high`, data: line.points.map((p) => ({ x: p.x, y: p.high })), borderColor: "transparent", backgroundColor: `${colour}2e`, pointRadius: 0, fill: "-1" });
    }
  });
  return {
    type: "line",
    data: { datasets: sets },
    options: {
      animation: false,
      maintainAspectRatio: false,
      parsing: false,
      interaction: { mode: "nearest", axis: "x", intersect: false },
      plugins: { legend: legend ? RE.legend() : { display: false }, tooltip: { filter: (item) => !item.dataset.label.startsWith("~") } },
      scales: { x: RE.axis("step", { type: "linear" }), y: RE.axis(metric) },
    },
  };
}, height);

RE.curveTable = (lines) => {
  const columns = [{ title: "method", left: true }, { title: "first", number: true }, { title: "last", number: true }, { title: "range of seeds at the end", left: true }];
  const n = (v) => Number(v.toPrecision(4)).toString();
  const rows = lines.map((l) => {
    const first = l.points[0], last = l.points[l.points.length - 1];
    return { cells: [{ t: l.name }, { t: n(first.mean), v: first.mean }, { t: n(last.mean), v: last.mean }, { t: `${n(last.low)} to ${n(last.high)}` }] };
  });
  return RE.table(columns, rows, { label: "curves" }).box;
};
