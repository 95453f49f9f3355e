"use strict";
// Charts by Chart.js, in the page's colours, drawn again when these change. Every chart has a table or text beside it.
RE.COLOURS = ["#3b7dd8", "#d9822b", "#2f9e6e", "#b0508f", "#7a68c9", "#8a7a1f", "#c0504d", "#4aa3b5", "#7d8794", "#9b5de5"];
RE.charts = [];

RE.chartjs = () => {
  if (window.Chart) return Promise.resolve();
  RE.loadingChart ??= new Promise((done, failed) => {
    const script = RE.h("script", { src: "assets/vendor/chart.js" });
    script.addEventListener("load", done);
    script.addEventListener("error", () => failed(new Error("assets/vendor/chart.js is missing")));
    document.head.append(script);
  });
  return RE.loadingChart;
};

// Vertical error bars of scatter points that carry low and high.
RE.errorBars = {
  id: "errorBars",
  afterDatasetsDraw(chart) {
    const { ctx, scales } = chart;
    chart.data.datasets.forEach((set, k) => {
      if (!chart.isDatasetVisible(k)) return;
      set.data.forEach((point, i) => {
        if (point.low === undefined) return;
        const x = chart.getDatasetMeta(k).data[i].x;
        ctx.save();
        ctx.strokeStyle = set.borderColor;
        ctx.lineWidth = 1.5;
        ctx.beginPath();
        ctx.moveTo(x, scales.y.getPixelForValue(point.low));
        ctx.lineTo(x, scales.y.getPixelForValue(point.high));
        ctx.stroke();
        ctx.restore();
      });
    });
  },
};

RE.axis = (title, more = {}) => ({
  title: { display: true, text: title, color: RE.css("--dim") },
  ticks: { color: RE.css("--dim") },
  grid: { color: RE.css("--line") },
  ...more,
});

// A canvas that is drawn by `make() -> Chart.js configuration`, and again when the theme changes.
RE.chart = (label, make, height = 320) => {
  const canvas = RE.h("canvas", { role: "img", "aria-label": label });
  const box = RE.h("div", { class: "chart", "--height": `${height}px` }, canvas);
  RE.chartjs().then(() => {
    const draw = () => {
      RE.charts = RE.charts.filter((c) => c.canvas !== canvas);
      window.Chart.getChart(canvas)?.destroy();
      const chart = new window.Chart(canvas, make());
      RE.charts.push({ canvas, draw });
      return chart;
    };
    if (canvas.isConnected) draw();
    else requestAnimationFrame(() => canvas.isConnected && draw());
  }, (error) => box.replaceChildren(error.message));
  return box;
};

RE.redraw = () => {
  for (const { canvas, draw } of [...RE.charts]) if (canvas.isConnected) draw();
  RE.charts = RE.charts.filter((c) => c.canvas.isConnected);
};

RE.legend = () => ({ labels: { color: RE.css("--ink"), filter: (item) => !item.text.startsWith("~"), boxWidth: 12, boxHeight: 12 } });

// Cost against accuracy: one point per trained row, a line for the baseline.
RE.costChart = (rows, base) => RE.chart("accuracy against tokens sampled in training", () => {
  const sets = rows.map((row, k) => ({
    label: row.name,
    data: [{ x: row.tokens, y: 100 * row.interval[0], low: 100 * row.interval[1], high: 100 * row.interval[2] }],
    backgroundColor: RE.COLOURS[k % RE.COLOURS.length],
    borderColor: RE.COLOURS[k % RE.COLOURS.length],
    pointRadius: 6,
    pointHoverRadius: 8,
    showLine: false,
  }));
  const xs = rows.map((r) => r.tokens);
  if (base !== null) {
    const ends = [Math.min(...xs) * 0.95, Math.max(...xs) * 1.05];
    sets.push({ label: "base", data: ends.map((x) => ({ x, y: 100 * base })), borderColor: RE.css("--dim"), borderDash: [5, 5], borderWidth: 1.5, pointRadius: 0, showLine: true });
  }
  const bounds = rows.map((r) => r.interval);
  const limits = { suggestedMin: Math.floor(100 * Math.min(...bounds.map((b) => b[1]))) - 1, suggestedMax: Math.ceil(100 * Math.max(...bounds.map((b) => b[2]))) + 1 };
  return {
    type: "scatter",
    data: { datasets: sets },
    plugins: [RE.errorBars],
    options: {
      animation: false,
      maintainAspectRatio: false,
      plugins: { legend: RE.legend(), tooltip: { callbacks: { label: (c) => `${c.dataset.label}: ${c.parsed.y.toFixed(1)} %, ${c.parsed.x.toLocaleString("en")} tokens` } } },
      scales: { x: RE.axis("tokens sampled in training"), y: RE.axis("accuracy, %", limits) },
    },
  };
});
