"use strict";
// Responses: text with its mathematics set by KaTeX, as nodes. Nothing here makes markup from what a model wrote.
RE.LONG = 6000;
RE.FORMULAS = 200;

// Parts of a text: {math, display, text}. Dollar signs count only around something that looks like a formula.
RE.parts = (text) => {
  const pattern = /\$\$([^]+?)\$\$|\\\[([^]+?)\\\]|\\\(([^]+?)\\\)|\$([^$\n]{1,400}?)\$|(\\boxed\{(?:[^{}]|\{[^{}]*\})*\})/g;
  const found = [];
  let place = 0;
  for (const match of text.matchAll(pattern)) {
    const body = match[1] ?? match[2] ?? match[3] ?? match[4] ?? match[5];
    if (match[4] !== undefined && !/[\\^_=+\-*/{}]|^\s*[\w.,]+\s*$/.test(body)) continue;
    if (match.index < place || body.length > 2000 || found.length > 2 * RE.FORMULAS) continue;
    if (match.index > place) found.push({ text: text.slice(place, match.index) });
    found.push({ math: true, display: match[1] !== undefined || match[2] !== undefined, text: body, whole: match[0] });
    place = match.index + match[0].length;
  }
  if (place < text.length) found.push({ text: text.slice(place) });
  return found;
};

RE.formula = (part) => {
  const box = RE.h("span", { class: "formula", title: part.whole });
  try {
    window.katex.render(part.text, box, { displayMode: part.display, throwOnError: true, trust: false, strict: "ignore", maxSize: 20, maxExpand: 200 });
  } catch {
    box.replaceChildren(part.whole);
  }
  return box;
};

// KaTeX is loaded when the first response is shown.
RE.katex = () => {
  if (window.katex) return Promise.resolve();
  RE.loadingKatex ??= new Promise((done) => {
    const script = RE.h("script", { src: "assets/vendor/katex.js" });
    script.addEventListener("load", done);
    script.addEventListener("error", done);
    document.head.append(script);
  });
  return RE.loadingKatex;
};

// A long text shows its two ends (the answer is at the end) and the rest on demand.
RE.prose = (text, raw) => {
  const box = RE.h("div", { class: "prose-text" });
  const show = (whole) => {
    const long = text.length > RE.LONG && !whole;
    const pieces = long ? [text.slice(0, RE.LONG / 2), text.slice(-RE.LONG / 2)] : [text];
    const nodes = pieces.map((piece) => (raw || !window.katex ? piece : RE.parts(piece).map((p) => (p.math ? RE.formula(p) : p.text))));
    if (long) {
      const hidden = (text.length - RE.LONG).toLocaleString("en");
      nodes.splice(1, 0, RE.h("button", { type: "button", class: "more", onclick: () => show(true) }, `show ${hidden} more characters`));
    }
    box.replaceChildren();
    RE.add(box, text === "" ? [RE.h("span", { class: "dim" }, "(empty)")] : nodes);
  };
  show(false);
  if (!raw && !window.katex) RE.katex().then(() => show(false));
  return box;
};
