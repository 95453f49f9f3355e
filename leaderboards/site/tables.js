"use strict";
// Tables that sort by a click or a key and filter by a word.

// columns: [{title, left, number}], rows: [{key, cells: [{t, v, node}], class, node}]. Returns {box, table}.
RE.table = (columns, rows, options = {}) => {
  const state = { column: options.sort ?? -1, down: options.down ?? true };
  const body = RE.h("tbody");
  const heads = columns.map((column, place) => {
    const button = RE.h("button", { type: "button", class: "sort", onclick: () => order(place) }, column.title, RE.h("span", { class: "arrow", "aria-hidden": "true" }));
    return RE.h("th", { class: column.left ? "left" : "", scope: "col" }, column.plain ? column.title : button);
  });
  const table = RE.h("table", {}, RE.h("thead", {}, RE.h("tr", {}, heads)), body);
  const made = rows.map((row) => ({ row, node: RE.h("tr", { class: row.class || "" }, row.cells.map((cell, k) => RE.tableCell(cell, columns[k], k === 0))) }));
  const value = (item) => {
    const cell = item.row.cells[state.column];
    return cell.v !== undefined ? cell.v : cell.t;
  };
  const fill = () => {
    let shown = [...made];
    if (state.column >= 0) shown.sort((a, b) => RE.compare(value(a), value(b)) * (state.down ? -1 : 1));
    body.replaceChildren(...shown.map((item) => item.node));
    heads.forEach((head, k) => head.setAttribute("aria-sort", k !== state.column ? "none" : state.down ? "descending" : "ascending"));
  };
  const order = (place) => {
    state.down = state.column === place ? !state.down : columns[place].number === true;
    state.column = place;
    fill();
  };
  fill();
  const filter = (word) => {
    for (const item of made) item.node.hidden = !item.row.cells.map((c) => c.t).join(" ").toLowerCase().includes(word.toLowerCase());
  };
  return { box: RE.h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": options.label || "table" }, table), filter };
};

RE.tableCell = (cell, column, first) => {
  const kind = [column.left ? "left" : "", cell.class || ""].join(" ").trim();
  return RE.h(first ? "th" : "td", { class: kind, scope: first ? "row" : null, ...(cell.style || {}) }, cell.node || cell.t);
};

// Numbers by size, texts naturally, what is missing last in either direction.
RE.compare = (a, b) => {
  const none = (x) => x === null || x === undefined || x === "-";
  if (none(a) || none(b)) return none(a) - none(b);
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
};

// A word field that filters tables; "/" moves to it.
RE.search = (label, apply) => RE.h("input", { type: "search", class: "search", placeholder: label, "aria-label": label, oninput: (event) => apply(event.target.value) });

// The interval of a row as a bar on a common scale; base: accuracy of the baseline.
RE.bar = (interval, scale, base) => {
  const [value, low, high] = interval;
  const x = (v) => 4 + (192 * (v - scale[0])) / (scale[1] - scale[0]);
  const svg = RE.svg("svg", { class: "bar", width: 200, height: 20, viewBox: "0 0 200 20", role: "img" });
  svg.setAttribute("aria-label", `${RE.percent(value)} % [${RE.percent(low)}, ${RE.percent(high)}]`);
  if (base !== null && base !== undefined) svg.append(RE.svg("line", { class: "base", x1: x(base), x2: x(base), y1: 0, y2: 20 }));
  svg.append(RE.svg("line", { class: "range", x1: x(low), x2: x(high), y1: 10, y2: 10 }));
  svg.append(RE.svg("circle", { cx: x(value), cy: 10, r: 4.5 }));
  return svg;
};

RE.scale = (intervals) => {
  const low = Math.floor(20 * Math.min(...intervals.map((i) => i[1]))) / 20;
  const high = Math.ceil(20 * Math.max(...intervals.map((i) => i[2]))) / 20;
  return [low, high > low ? high : low + 0.05];
};
