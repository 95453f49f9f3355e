"use strict";
// Token signals of training rollouts as a heat map over the response.
RE.views.tokens = (main, parts, query) => {
  const runs = RE.store.board.tokens;
  RE.add(main, [RE.h("h1", {}, "Token signals")]);
  if (!runs.length) { RE.add(main, [RE.h("p", {}, "No run kept its rollouts (train.log_rollouts).")]); return; }
  const run = runs[Number(parts[1] || 0)] || runs[0];
  const go = (changes, to = run.i) => { location.hash = RE.link(["tokens", String(to)], { ...Object.fromEntries(query), ...changes }); };
  const choose = RE.h("label", {}, "run ", RE.h("select", { onchange: (e) => go({ step: "", r: "", signal: "" }, e.target.value) }, runs.map((r) => RE.h("option", { value: r.i, selected: r.i === run.i }, `${r.name}, seed ${r.seed}`))));
  const bar = RE.h("form", { class: "filters" }, choose);
  RE.add(main, [RE.h("p", { class: "dim" }, "Rollouts of training, as they were logged: what each token was given."), bar]);
  return RE.get(`tokens-${run.i}`).then((data) => {
    if (!data.steps.length) { RE.add(main, [RE.h("p", {}, data.why)]); return; }
    RE.tokenView(main, bar, data, query, go);
  });
};

RE.tokenView = (main, bar, data, query, go) => {
  const step = data.steps.find((s) => String(s.step) === query.get("step")) || data.steps[data.steps.length - 1];
  const names = Object.keys(step.rollouts[0].signals).sort();
  const name = names.includes(query.get("signal")) ? query.get("signal") : names.find((n) => n.includes("score")) || (names.includes("advantage") ? "advantage" : names[0]);
  const moved = step.rollouts.find((r) => r.signals[name].some((v) => v));
  const rollout = (query.get("r") && step.rollouts[Number(query.get("r"))]) || moved || step.rollouts[0];
  const select = (label, key, values, chosen) => RE.h("label", {}, label, RE.h("select", { onchange: (e) => go({ [key]: e.target.value }) }, values.map(([v, t]) => RE.h("option", { value: v, selected: String(v) === String(chosen) }, t))));
  const right = (r) => (r.outcome === null ? "ungraded" : r.outcome > 0 ? "correct" : "incorrect");
  RE.add(bar, [
    select("step ", "step", data.steps.map((s) => [s.step, s.step]), step.step),
    select("rollout ", "r", step.rollouts.map((r, k) => [k, `${r.id}: ${right(r)}`]), step.rollouts.indexOf(rollout)),
    select("signal ", "signal", names.map((n) => [n, n]), name),
  ]);
  const values = rollout.signals[name].map((v) => (v === null ? 0 : v));
  const sorted = values.map(Math.abs).sort((a, b) => a - b);
  const most = sorted[Math.ceil(0.98 * (sorted.length - 1))] || 1;
  const shown = (v) => Number(v.toPrecision(4)).toString();
  RE.add(main, [
    RE.h("p", { class: `verdict ${right(rollout)}` }, right(rollout)),
    RE.h("div", { class: "tokens", role: "img", "aria-label": `${name} of each token` }, rollout.tokens.map((token, k) => RE.h("span", {
      class: `token ${values[k] < 0 ? "below" : "above"}`,
      "--share": `${(70 * Math.min(1, Math.abs(values[k]) / most)).toFixed(0)}%`,
      title: `${name} ${shown(values[k])}`,
    }, token))),
    RE.h("p", { class: "dim" }, `Blue is positive, orange negative; full colour is ${shown(most)}. ${step.rollouts.length} of ${step.of} rollouts of step ${step.step} are here.`),
    RE.fold("As a table", () => [RE.table([{ title: "place", number: true }, { title: "token", left: true }, ...names.map((n) => ({ title: n, number: true }))],
      rollout.tokens.slice(0, 1000).map((t, k) => ({ cells: [{ t: String(k), v: k }, { t }, ...names.map((n) => { const v = rollout.signals[n][k]; return { t: v === null ? "-" : shown(v), v }; })] })), { label: "tokens" }).box]),
  ]);
};
