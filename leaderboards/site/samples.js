"use strict";
// The samples of one evaluation: filters, a list, and one sample with its picture, response, verdicts, alone or beside another's.
RE.PAGE = 40;

RE.views.samples = (main, parts, query) => {
  const place = Number(parts[1]);
  const own = RE.store.board.evaluations[place];
  if (!own) { RE.add(main, [RE.h("h1", {}, "No such evaluation"), RE.h("p", {}, RE.h("a", { href: "#/" }, "to the overview"))]); return; }
  const beside = query.get("with");
  RE.add(main, [RE.h("h1", {}, own.task, " ", RE.h("span", { class: "dim" }, RE.evaluationName(own)))]);
  const box = RE.h("div", { class: "loading" }, "loading samples");
  RE.add(main, [box]);
  const wanted = [RE.get(`e${place}/index`), beside ? RE.get(`e${beside}/index`) : null];
  return Promise.all(wanted).then(([index, second]) => {
    const other = second ? { index: second, place: Number(beside), places: RE.verdictsOf(second) } : null;
    box.remove();
    RE.sampleView(main, { index, place, own, other, query });
  }, (error) => box.replaceChildren(`${error.message}. Was the page built without samples?`));
};

RE.sampleView = (main, view) => {
  const { index, place, query, other } = view;
  const go = (changes) => { location.hash = RE.link(["samples", String(place)], { ...Object.fromEntries(query), ...changes }); };
  view.go = go;
  view.found = RE.chosen(index, query, other);
  RE.add(main, [RE.filterBar(index, query, place, go), RE.summary(view)]);
  if (index.n < index.total) RE.add(main, [RE.h("p", { class: "warn" }, `The page holds the first ${index.n.toLocaleString("en")} of ${index.total.toLocaleString("en")} samples; rlfr-eval view shows all.`)]);
  const chosen = query.get("s");
  if (chosen === null || chosen === "") RE.list(main, view);
  else RE.one(main, view, Number(chosen));
  RE.add(main, [RE.fold("Manifest", () => [RE.h("pre", { class: "manifest" }, JSON.stringify(index.manifest.results, null, 2)), RE.h("p", { class: "dim" }, view.own.folder)])]);
};

// How many are shown and, beside another evaluation, how many flipped either way.
RE.summary = ({ index, found, other, place }) => {
  const parts = [`${found.length.toLocaleString("en")} of ${index.n.toLocaleString("en")} samples`];
  if (other) {
    let won = 0, lost = 0;
    for (let i = 0; i < index.n; i++) {
      const j = other.places.get(RE.sampleKey(index, i));
      if (j === undefined) continue;
      const here = RE.isRight(index, index.v[i]), there = RE.isRight(other.index, other.index.v[j]);
      won += here && !there;
      lost += there && !here;
    }
    const names = [RE.store.board.evaluations[place], RE.store.board.evaluations[other.place]].map(RE.evaluationName);
    parts.push(`right only in ${names[0]}: ${won}, only in ${names[1]}: ${lost}`);
  }
  return RE.h("p", { class: "dim count", "aria-live": "polite" }, parts.join("; "));
};

RE.list = (main, view) => {
  const { index, found, query, place, go } = view;
  const page = Math.max(0, Math.min(Number(query.get("p") || 0), Math.ceil(found.length / RE.PAGE) - 1));
  const shown = found.slice(page * RE.PAGE, (page + 1) * RE.PAGE);
  const columns = [{ title: "item", left: true }, { title: "verdict", left: true }, ...(view.other ? [{ title: "beside", left: true }] : []), { title: "reason", left: true }, { title: "tokens", number: true }, ...(index.q ? [{ title: "question", left: true }] : [])];
  const rows = shown.map((i) => {
    const href = RE.link(["samples", String(place)], { ...Object.fromEntries(query), s: i });
    const name = index.id[i] + (index.k ? ` #${index.k[i]}` : "");
    const there = view.other && view.other.places.get(RE.sampleKey(index, i));
    return { cells: [
      { t: name, node: RE.h("a", { href }, name) },
      RE.verdictCell(index, index.v[i]),
      ...(view.other ? [there === undefined ? { t: "-" } : RE.verdictCell(view.other.index, view.other.index.v[there])] : []),
      { t: index.reasons[index.r[i]] + (index.flags[i] & 1 ? ", truncated" : "") },
      { t: String(index.tokens[i]), v: index.tokens[i] },
      ...(index.q ? [{ t: index.q[i], class: "question" }] : []),
    ] };
  });
  if (!rows.length) { RE.add(main, [RE.h("p", {}, "No sample fits.")]); return; }
  const pages = Math.ceil(found.length / RE.PAGE);
  const pager = pages > 1 && RE.h("p", { class: "pager" },
    RE.h("button", { type: "button", disabled: page === 0, onclick: () => go({ p: page - 1 }) }, "previous"),
    ` page ${page + 1} of ${pages} `,
    RE.h("button", { type: "button", disabled: page === pages - 1, onclick: () => go({ p: page + 1 }) }, "next"));
  RE.add(main, [RE.table(columns, rows, { label: "samples" }).box, pager]);
};

RE.verdictCell = (index, code) => ({ t: index.verdicts[code], class: `verdict ${index.verdicts[code]}` });

// One sample; arrow keys or j and k go through those that were chosen.
RE.one = (main, view, i) => {
  const { index, found, place, go, query, other } = view;
  if (!(i >= 0 && i < index.n)) { RE.add(main, [RE.h("p", {}, "No such sample.")]); return; }
  const at = found.indexOf(i);
  view.step = (by) => { const next = found[at < 0 ? 0 : at + by]; if (next !== undefined) go({ s: next }); };
  RE.step = view.step;
  RE.add(main, [RE.h("p", { class: "pager" },
    RE.h("a", { href: RE.link(["samples", String(place)], { ...Object.fromEntries(query), s: "" }) }, "list"), " ",
    RE.h("button", { type: "button", disabled: at <= 0, onclick: () => view.step(-1) }, "previous"), " ",
    RE.h("button", { type: "button", disabled: at < 0 || at === found.length - 1, onclick: () => view.step(1) }, "next"), " ",
    RE.h("label", {}, RE.h("input", { type: "checkbox", checked: query.get("raw") === "1", onchange: (e) => go({ raw: e.target.checked ? "1" : "" }) }), " source text"))]);
  const sides = [[view.own, index, i, place]];
  const j = other && other.places.get(RE.sampleKey(index, i));
  if (j !== null && j !== undefined) sides.push([RE.store.board.evaluations[other.place], other.index, j, other.place]);
  const box = RE.h("div", { class: "loading" }, "loading the sample");
  RE.add(main, [box]);
  Promise.all(sides.map(([, index, i, e]) => RE.get(`e${e}/${Math.floor(i / index.block)}`).then((rows) => rows[i % index.block]))).then((rows) => {
    const raw = query.get("raw") === "1";
    box.className = "sample";
    box.replaceChildren();
    RE.add(box, [RE.h("h2", {}, `item ${rows[0].id}${index.k ? ` #${rows[0].sample_index}` : ""}`), RE.pictures(index, i), RE.h("h3", {}, "Question"), RE.prose(rows[0].question || "", raw),
      RE.h("p", {}, RE.h("strong", {}, "Gold "), RE.prose(rows[0].gold || "", true)),
      rows[0].note && RE.h("p", { class: "warn" }, rows[0].note),
      RE.h("div", { class: rows.length > 1 ? "two" : "" }, rows.map((row, k) => RE.response(row, RE.evaluationName(sides[k][0]), raw)))]);
  }, (error) => box.replaceChildren(error.message));
};

RE.pictures = (index, i) => {
  if (!index.pictures) return index.no_pictures ? RE.h("p", { class: "dim" }, index.no_pictures) : null;
  const [place, count] = index.pictures[i];
  return RE.h("div", { class: "pictures" }, Array.from({ length: count }, (_, k) => {
    const picture = RE.h("img", { src: `${index.folder}/${place}-${k}.png`, alt: `picture ${k + 1} of item ${index.id[i]}`, loading: "lazy" });
    picture.addEventListener("error", () => picture.replaceWith("(the picture is not at hand)"));
    return picture;
  }));
};

RE.response = (row, name, raw) => {
  const verdict = (label, v) => RE.h("tr", {}, RE.h("th", { class: "left", scope: "row" }, label), RE.h("td", { class: `verdict ${v.status}` }, v.status), RE.h("td", { class: "left" }, v.reason + (v.side ? ` (${v.side})` : "")), RE.h("td", { class: "left wrap" }, v.extracted === null || v.extracted === undefined ? "(no answer)" : v.extracted.slice(0, 500)));
  const verdicts = Object.entries(row.verdicts || {});
  const own = verdicts.length ? verdicts : [[row.protocol, { status: row.verdict, reason: row.reason, extracted: row.extracted, side: row.side }]];
  const facts = [row.tokens ? `${row.tokens} tokens` : "", row.finish === "length" ? "cut at the token limit" : "", ...Object.entries(row.rewards || {}).map(([k, v]) => `${k} ${v}`), ...Object.entries(row.categories || {}).map(([k, v]) => `${k} ${[v].flat().join("/")}`)];
  return RE.h("article", { class: "response" }, RE.h("h3", {}, name),
    RE.h("div", { class: "wide" }, RE.h("table", {}, RE.h("tbody", {}, own.map(([label, v]) => verdict(label + (label === row.protocol ? " (headline)" : ""), v))))),
    RE.h("p", { class: "dim" }, facts.filter(Boolean).join(", ")),
    RE.h("h4", {}, "Response"), RE.prose(row.response || "", raw));
};
