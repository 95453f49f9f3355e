"use strict";
// Which view the address asks for, the keys, and the theme.
RE.show = () => {
  const { parts, query } = RE.route();
  const main = document.getElementById("main");
  main.replaceChildren();
  RE.step = null;
  const view = RE.views[parts[0] || "overview"] || RE.views.overview;
  const shown = view(main, parts, query);
  document.title = `${main.querySelector("h1")?.textContent || "RLFR-Eval"} · RLFR-Eval`;
  for (const link of document.querySelectorAll("#nav a")) {
    const own = link.getAttribute("href").replace(/^#\//, "").split("/")[0];
    if (own === (parts[0] || "")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  Promise.resolve(shown).catch((error) => RE.add(main, [RE.h("p", { class: "warn" }, error.message)])).then(() => document.documentElement.setAttribute("data-ready", location.hash));
  window.scrollTo(0, 0);
};

RE.keys = (event) => {
  if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") { document.querySelector("input[type=search]")?.focus(); event.preventDefault(); }
  if (RE.step && (event.key === "j" || event.key === "ArrowRight")) RE.step(1);
  if (RE.step && (event.key === "k" || event.key === "ArrowLeft")) RE.step(-1);
};

RE.theme = () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* a page from disk may have no storage */ }
  RE.redraw();
};

RE.start = () => {
  const board = RE.store.board;
  const nav = document.getElementById("nav");
  if (!board) { RE.add(document.getElementById("main"), [RE.h("p", { class: "warn" }, "data/board.js is missing: build the page again.")]); return; }
  try { const kept = localStorage.getItem("theme"); if (kept) document.documentElement.dataset.theme = kept; } catch { /* as above */ }
  RE.add(nav, [RE.h("a", { href: "#/" }, "overview"), board.curves > 0 && RE.h("a", { href: "#/curves" }, "curves"), board.tokens.length > 0 && RE.h("a", { href: "#/tokens/0" }, "tokens")]);
  const tasks = RE.h("select", { "aria-label": "task", onchange: (e) => { if (e.target.value) location.hash = RE.link(["task", e.target.value]); } }, RE.h("option", { value: "" }, "task"), board.tables.map((t) => RE.h("option", { value: t.id }, `${t.task} (${t.protocol})`)));
  RE.add(nav, [tasks]);
  document.getElementById("theme").addEventListener("click", RE.theme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", RE.redraw);
  document.addEventListener("keydown", RE.keys);
  window.addEventListener("hashchange", RE.show);
  RE.show();
};

RE.start();
