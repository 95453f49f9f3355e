"use strict";
// Methods by tasks as a heat table, the averages with their intervals, and what they cost.
RE.views.overview = (main) => {
  const board = RE.store.board;
  RE.add(main, [RE.h("h1", {}, "Overview")]);
  RE.add(main, [RE.h("p", { class: "dim" }, "accuracy = correct / asked; an ungraded sample stays in the denominator. Intervals are 95 %. Blue is above the baseline, orange below.")]);
  for (const average of board.averages) RE.averageSection(main, average);
  if (!board.averages.length) RE.heatSection(main, board.tables);
  RE.add(main, [RE.h("h2", {}, "Tasks")]);
  RE.add(main, [RE.h("div", { class: "cards" }, board.tables.map(RE.taskCard))]);
  if (board.refused.length) RE.add(main, [RE.h("h2", {}, "Left out"), RE.notes(board.refused, "warn")]);
};

// Without an average (another policy on each benchmark): every row beside the baseline of its own block.
RE.heatSection = (main, tables) => {
  if (tables.length === 1) { RE.taskSection(main, tables[0], [], "h2"); return; }
  const columns = [{ title: "method", left: true }, ...tables.map((t) => ({ title: t.task, number: true }))];
  const full = RE.fullColour(tables.flatMap((t) => t.blocks.map((b) => [b.rows.find((r) => r.base)?.interval, b.rows.map((r) => r.interval)])));
  const names = new Map();
  tables.forEach((table, k) => table.blocks.forEach((block) => {
    const base = block.rows.find((r) => r.base)?.interval;
    for (const row of block.rows) {
      if (!names.has(row.name)) names.set(row.name, { row, cells: [] });
      names.get(row.name).cells[k] ??= RE.heatCell(row.interval, base, table.id, full);
    }
  }));
  const rows = [...names.values()].map(({ row, cells }) => ({
    class: row.base ? "baseline" : "",
    cells: [RE.methodCell(row), ...tables.map((_, k) => cells[k] || { t: "-", v: null })],
  }));
  RE.add(main, [RE.table(columns, rows, { label: "methods by tasks", sort: 1 }).box, RE.notes(["Each task has its own start policy, so there is no average; ± is half of a 95 % interval."])]);
  const costs = tables.map((table) => [table, table.blocks[0]]).filter(([, b]) => b.rows.filter((r) => r.tokens).length > 1);
  RE.add(main, [costs.length > 0 && RE.h("h2", {}, "Cost against accuracy"), RE.h("div", { class: "grid wide-grid" }, costs.map(([table, block]) => RE.h("div", {}, RE.h("h3", {}, table.task),
    RE.costChart(block.rows.filter((r) => r.tokens).map((r) => ({ name: r.name, tokens: r.tokens, interval: r.interval })), block.rows.find((r) => r.base)?.interval[0] ?? null))))]);
};

// The difference that is shown in full colour: the largest on the board, and 5 points at least.
RE.fullColour = (groups) => Math.max(0.05, ...groups.flatMap(([base, others]) => (base ? others.map((o) => Math.abs(o[0] - base[0])) : [])));

RE.averageSection = (main, average) => {
  const base = average.rows.find((row) => row.base);
  const intervals = average.rows.filter((r) => r.average).map((r) => r.average);
  const scale = intervals.length ? RE.scale(intervals) : [0, 1];
  const full = RE.fullColour(average.columns.map((c) => [base?.cells[c], average.rows.map((r) => r.cells[c]).filter(Boolean)]));
  const columns = [
    { title: "method", left: true },
    { title: "average", number: true },
    { title: "95 % interval", left: true, number: true },
    { title: `vs ${base ? base.method : "base"}, points`, number: true },
    { title: "p", left: true },
    { title: "ties", left: true },
    ...average.columns.map((title) => ({ title, number: true })),
    { title: "seeds", number: true },
  ];
  const rows = average.rows.map((row) => ({
    class: row.base ? "baseline" : "",
    cells: [
      RE.methodCell(row),
      { t: row.average ? RE.percent(row.average[0]) : "-", v: row.average && row.average[0], class: "strong" },
      row.average ? { t: "", v: row.average[0], node: RE.bar(row.average, scale, base?.average?.[0]) } : { t: "-" },
      { t: row.difference ? RE.signed(row.difference) : "-", v: row.difference && row.difference[0] },
      { t: row.p },
      { t: row.letters || "-" },
      ...average.columns.map((task) => RE.heatCell(row.cells[task], base?.cells[task], task, full)),
      { t: String(row.seeds), v: row.seeds },
    ],
  }));
  const made = RE.table(columns, rows, { label: `average, ${average.title}` });
  RE.add(main, [RE.h("section", {}, RE.h("h2", {}, "Average over benchmarks"), RE.h("p", { class: "dim" }, average.title), made.box, RE.notes(average.notes))]);
  const costly = average.rows.filter((row) => row.tokens && row.average).map((row) => ({ name: row.name, tokens: row.tokens, interval: row.average }));
  if (costly.length) RE.add(main, [RE.h("h3", {}, "Cost against accuracy"), RE.costChart(costly, base?.average?.[0] ?? null)]);
};

RE.methodCell = (row) => {
  const known = RE.store.board.methods.includes(row.method);
  return { t: row.name, node: known ? RE.h("a", { href: `methods/${encodeURIComponent(row.method)}.html` }, row.name) : null };
};

RE.signed = ([value, low, high]) => {
  const s = (v) => `${v < 0 ? "−" : "+"}${Math.abs(100 * v).toFixed(1)}`;
  return `${s(value)} [${s(low)}, ${s(high)}]`;
};

// The colour says how far the cell is from the baseline; a difference of `full` has the whole colour.
RE.heatCell = (cell, base, task, full) => {
  if (!cell) return { t: "-", v: null };
  const away = base ? cell[0] - base[0] : 0;
  const share = Math.min(1, Math.abs(away) / full) * 55;
  const half = 50 * (cell[2] - cell[1]);
  return {
    t: RE.percent(cell[0]),
    v: cell[0],
    class: `heat ${away < 0 ? "below" : "above"}`,
    style: { "--share": `${share.toFixed(0)}%` },
    node: RE.h("a", { href: RE.link(["task", task]) }, RE.percent(cell[0]), RE.h("small", {}, ` ±${half.toFixed(1)}`)),
  };
};

RE.taskCard = (table) => {
  const rows = table.blocks.flatMap((block) => block.rows);
  const best = rows.filter((r) => r.headline).sort((a, b) => b.interval[0] - a.interval[0])[0];
  return RE.h("a", { class: "card", href: RE.link(["task", table.id]) },
    RE.h("strong", {}, table.task),
    RE.h("span", { class: "dim" }, table.about),
    RE.h("span", {}, `${rows.length} ${rows.length === 1 ? "row" : "rows"}`, best ? `, best ${best.name} ${RE.percent(best.interval[0])} %` : ""));
};
