"use strict";
// Elements, data files and small helpers. Text from data only ever becomes a text node.
const RE = { views: {}, store: {}, waiting: {} };

// Make an element: RE.h("a", {href: "#/"}, "text", child). Strings and numbers become text nodes.
RE.h = (tag, attributes, ...children) => {
  const made = document.createElement(tag);
  RE.set(made, attributes || {});
  RE.add(made, children);
  return made;
};

RE.svg = (tag, attributes, ...children) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  RE.add(made, children);
  return made;
};

RE.set = (made, attributes) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) made.style.setProperty(name, value);
    else if (name === "class") made.className = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
};

RE.add = (made, children) => {
  for (const child of children.flat(9)) {
    if (child === null || child === undefined || child === false) continue;
    made.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
};

// A data file calls this with its key and value.
RE.put = (key, value) => {
  RE.store[key] = value;
  for (const done of RE.waiting[key] || []) done(value);
  delete RE.waiting[key];
};

// A promise of the value of data/<key>.js, loaded once. Scripts, because a page from disk may load nothing else.
RE.get = (key) => {
  if (key in RE.store) return Promise.resolve(RE.store[key]);
  return new Promise((done, failed) => {
    if (RE.waiting[key]) { RE.waiting[key].push(done); return; }
    RE.waiting[key] = [done];
    const script = RE.h("script", { src: `data/${key}.js` });
    script.addEventListener("error", () => { delete RE.waiting[key]; failed(new Error(`data/${key}.js is missing`)); });
    script.addEventListener("load", () => script.remove());
    document.head.append(script);
  });
};

RE.percent = (value) => (value === null || value === undefined ? "-" : `${(100 * value).toFixed(1)}`);

RE.notes = (lines, kind) => lines.length > 0 && RE.h("ul", { class: `notes ${kind || ""}` }, lines.map((line) => RE.h("li", {}, line)));

// #/samples/3?with=4&f=wrong  ->  {parts: ["samples", "3"], query}
RE.route = () => {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/").filter(Boolean).map(decodeURIComponent), query: new URLSearchParams(query || "") };
};

RE.link = (parts, query) => {
  const words = new URLSearchParams(Object.entries(query || {}).filter(([, v]) => v !== "" && v !== null && v !== undefined));
  const text = words.toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
};

// A colour of the style sheet as the browser resolves it now (light or dark).
RE.css = (name) => {
  RE.probe ??= document.body.appendChild(RE.h("span", { hidden: true }));
  RE.probe.style.color = `var(${name})`;
  return getComputedStyle(RE.probe).color;
};
