"use strict";
// One task: a table per block that sorts and filters, categories, published rows, and what each row stands on.
RE.views.task = (main, parts) => {
  const board = RE.store.board;
  const wanted = (parts[1] || "").replace(/ avg@\d+$/, "");
  const found = board.tables.filter((t) => t.id === parts[1]);
  const tables = found.length ? found : board.tables.filter((t) => t.task === wanted);
  if (!tables.length) { RE.add(main, [RE.h("h1", {}, "No such task"), RE.h("p", {}, RE.h("a", { href: "#/" }, "to the overview"))]); return; }
  const filters = [];
  const search = RE.search("filter rows", (word) => filters.forEach((apply) => apply(word)));
  RE.add(main, [RE.h("h1", {}, tables[0].task), search]);
  for (const table of tables) RE.taskSection(main, table, filters);
};

// The blocks of one table; `filters` takes what filters their rows.
RE.taskSection = (main, table, filters, heading) => {
  RE.add(main, [heading && RE.h(heading, {}, table.task), RE.h("p", { class: "dim" }, table.about)]);
  table.blocks.forEach((block) => filters.push(RE.block(main, block)));
  if (table.published.length) RE.published(main, table);
  RE.add(main, [RE.notes(table.warnings, "warn"), RE.notes(table.legend)]);
};

RE.block = (main, block) => {
  const scale = RE.scale(block.rows.map((r) => r.interval));
  const base = block.rows.find((r) => r.base)?.interval[0];
  const columns = [{ title: "method", left: true }, { title: "interval", left: true, number: true }, ...block.columns.slice(0, 1), { title: "samples", left: true, plain: true }, ...block.columns.slice(1)];
  const rows = block.rows.map((row) => ({
    class: `${row.base ? "baseline" : ""} ${row.headline ? "" : "weak"}`,
    cells: [
      RE.methodCell(row),
      { t: "", v: row.interval[0], node: RE.bar(row.interval, scale, base) },
      ...row.cells.slice(0, 1),
      { t: "", node: RE.h("span", { class: "links" }, row.evaluations.map((e) => RE.seedLink(e))) },
      ...row.cells.slice(1),
    ],
  }));
  const made = RE.table(columns, rows, { label: block.title });
  RE.add(main, [RE.h("section", {}, RE.h("h2", { class: "block" }, block.title), made.box)]);
  const costly = block.rows.filter((r) => r.tokens).map((r) => ({ name: r.name, tokens: r.tokens, interval: r.interval }));
  if (costly.length > 1) RE.add(main, [RE.fold("Cost against accuracy", () => [RE.costChart(costly, base ?? null)])]);
  if (block.categories.length) RE.add(main, [RE.fold("By category", () => block.categories.map((c) => RE.category(c, block)))]);
  RE.add(main, [RE.fold("What the rows stand on", () => block.rows.map(RE.details))]);
  return made.filter;
};

RE.seedLink = (place) => {
  const e = RE.store.board.evaluations[place];
  return RE.h("a", { href: RE.link(["samples", String(place)]) }, e.seed === null || e.seed === undefined ? "look" : `seed ${e.seed}`);
};

// Content is made when it is opened.
RE.fold = (title, make) => {
  const box = RE.h("details", {}, RE.h("summary", {}, title));
  box.addEventListener("toggle", () => { if (box.open && box.childElementCount === 1) RE.add(box, make()); });
  return box;
};

RE.category = (category, block) => {
  const columns = [{ title: category.name, left: true }, { title: "n", number: true }, ...block.rows.map((r) => ({ title: r.name, number: true }))];
  const rows = category.lines.map((line) => ({
    cells: [{ t: line.value }, { t: String(line.n), v: line.n }, ...line.scores.map((s) => (s === null ? { t: "-", v: null } : { t: RE.percent(s), v: s, class: "heat above", style: { "--share": `${(45 * s).toFixed(0)}%` } }))],
  }));
  return RE.table(columns, rows, { label: category.name }).box;
};

RE.details = (row) => RE.h("div", {}, RE.h("h3", {}, row.name), RE.h("dl", {}, row.details.map(([label, value]) => [RE.h("dt", {}, label), RE.h("dd", {}, value)])));

RE.published = (main, table) => {
  const columns = [{ title: "model", left: true }, { title: "method", left: true }, { title: "score", number: true }, { title: "protocol and prompt, as far as said", left: true }, { title: "source", left: true }];
  const rows = table.published.map((p) => ({ class: "published", cells: [{ t: p.model }, { t: p.method || "-" }, { t: `${RE.percent(p.score)}${p.metric ? ` (${p.metric})` : ""}`, v: p.score }, { t: p.protocol, class: "wrap" }, { t: p.source, class: "wrap" }] }));
  const made = RE.table(columns, rows, { label: "published by others" });
  RE.add(main, [RE.fold(`Published by others, not ranked with ours (${rows.length})`, () => [made.box])]);
};
