"use strict";
// Which samples of an evaluation are shown: from its index alone, so that no sample needs to be loaded.
RE.FILTERS = [
  ["all", "all"],
  ["wrong", "not correct"],
  ["flip", "flipped"],
  ["protocol", "protocols differ"],
  ["cut", "truncated"],
  ["mark", "without a mark"],
  ["ungraded", "ungraded"],
  ["note", "noted gold"],
];

RE.sampleKey = (index, i) => `${index.id[i]}\u0000${index.k ? index.k[i] : 0}`;

// Verdict of the same item and sample in another index, by key.
RE.verdictsOf = (index) => {
  const found = new Map();
  for (let i = 0; i < index.n; i++) found.set(RE.sampleKey(index, i), i);
  return found;
};

// Places of the samples that the query asks for. other: {index, places} of the evaluation beside, or null.
RE.chosen = (index, query, other) => {
  const kind = query.get("f") || "all";
  const [category, value] = (query.get("cat") || "").split("\u001f");
  const codes = category && index.categories[category];
  const wanted = codes ? codes.texts.indexOf(value) : -1;
  const reason = query.get("reason") ? index.reasons.indexOf(query.get("reason")) : -1;
  const word = (query.get("q") || "").toLowerCase();
  const found = [];
  for (let i = 0; i < index.n; i++) {
    if (!RE.passes(index, i, kind, other)) continue;
    if (query.get("reason") && index.r[i] !== reason) continue;
    if (codes && ![codes.codes[i]].flat().includes(wanted)) continue;
    if (word && !`${index.id[i]} ${index.q ? index.q[i] : ""}`.toLowerCase().includes(word)) continue;
    found.push(i);
  }
  return found;
};

RE.passes = (index, i, kind, other) => {
  const verdict = index.verdicts[index.v[i]];
  if (kind === "wrong") return verdict !== "correct";
  if (kind === "ungraded") return verdict === "ungraded";
  if (kind === "cut") return (index.flags[i] & 1) === 1;
  if (kind === "mark") return (index.flags[i] & 2) === 2;
  if (kind === "note") return (index.flags[i] & 4) === 4;
  if (kind === "protocol") return Object.values(index.others).some((column) => column[i] >= 0 && RE.isRight(index, column[i]) !== RE.isRight(index, index.v[i]));
  if (kind === "flip") {
    const j = other ? other.places.get(RE.sampleKey(index, i)) : undefined;
    return j !== undefined && RE.isRight(other.index, other.index.v[j]) !== RE.isRight(index, index.v[i]);
  }
  return true;
};

RE.isRight = (index, code) => index.verdicts[code] === "correct";

// The row of controls above the list; `go` takes changes of the query.
RE.filterBar = (index, query, place, go) => {
  const board = RE.store.board;
  const own = board.evaluations[place];
  const kinds = RE.FILTERS.filter(([key]) => key !== "flip" || query.get("with"));
  const select = (label, name, options) => RE.h("label", {}, label, RE.h("select", { onchange: (e) => go({ [name]: e.target.value, p: "", s: "" }) },
    options.map(([value, text]) => RE.h("option", { value, selected: (query.get(name) || options[0][0]) === value }, text))));
  const beside = board.evaluations.filter((e) => e.i !== place && e.task === own.task && e.content === own.content);
  const categories = Object.entries(index.categories).flatMap(([name, c]) => c.texts.map((text) => [`${name}\u001f${text}`, `${name}: ${text}`]));
  return RE.h("form", { class: "filters", onsubmit: (e) => e.preventDefault() },
    select("show ", "f", kinds),
    beside.length > 0 && select("beside ", "with", [["", "nothing"], ...beside.map((e) => [String(e.i), RE.evaluationName(e)])]),
    index.reasons.length > 1 && select("reason ", "reason", [["", "any"], ...index.reasons.map((r) => [r, r])]),
    categories.length > 0 && select("category ", "cat", [["", "any"], ...categories]),
    RE.h("input", { type: "search", class: "search", "aria-label": "item or question", placeholder: "item or question", value: query.get("q") || "", onchange: (e) => go({ q: e.target.value, p: "", s: "" }) }));
};

RE.evaluationName = (e) => `${e.name}${e.seed === null || e.seed === undefined ? "" : `, seed ${e.seed}`}${e.protocol ? ` (${e.protocol})` : ""}`;
