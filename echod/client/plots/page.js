"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const colour = (name) => () => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const charts = [];

  // Three significant digits, as `latency_text` in axes.py writes them.
  const latency = (nanoseconds) => {
    if (nanoseconds == null) return "–";
    const [size, unit] = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]].find(([size]) => nanoseconds >= 0.9995 * size || size === 1);
    const value = nanoseconds / size;
    const digits = Number.isInteger(value) ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.max(value, 1))));
    return value.toFixed(digits) + " " + unit;
  };
  const share = (inverse) => {
    const percent = 100 - 100 / inverse;
    return percent.toFixed(Math.min(6, Math.max(0, Math.ceil(Math.log10(inverse)) - 1))) + "%";
  };

  const axis = (more) => ({
    stroke: colour("--faint"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { stroke: colour("--grid"), width: 1 },
    font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif", ...more,
  });
  const latencyAxis = () => axis({
    size: 72,
    splits: () => data.ticks.map(([value]) => value),
    values: () => data.ticks.map(([, label]) => label),
    filter: (chart, splits) => splits,
  });
  const latencyScale = () => ({ distr: 3, range: () => data.range });
  const line = (label, name, more) => ({ label, stroke: colour(name), width: 1.5, value: (chart, value) => latency(value), ...more });

  const draw = (id, options, columns) => {
    const place = document.getElementById(id);
    const size = () => ({ width: Math.max(280, place.clientWidth), height: Math.min(380, Math.max(260, Math.round(place.clientWidth / 2.6))) });
    const chart = new uPlot({ ...size(), ...options }, columns, place);
    charts.push(chart);
    let width = place.clientWidth;
    new ResizeObserver(() => {
      if (place.clientWidth === width) return;
      width = place.clientWidth;
      requestAnimationFrame(() => chart.setSize(size()));
    }).observe(place);
  };

  // A red mark at the top of the chart for each interval with losses.
  const losses = (chart) => {
    const lost = chart.data[5], ratio = devicePixelRatio || 1;
    chart.ctx.save();
    chart.ctx.fillStyle = colour("--lost")();
    lost.forEach((count, index) => {
      const x = chart.valToPos(chart.data[0][index], "x", true);
      if (count && x >= chart.bbox.left && x <= chart.bbox.left + chart.bbox.width) {
        chart.ctx.fillRect(x - ratio, chart.bbox.top, 2 * ratio, 10 * ratio);
      }
    });
    chart.ctx.restore();
  };

  // All of the measurement, or the part that was selected with the pointer.
  const window = (chart, low, high) => {
    const times = chart.data[0];
    return !times.length || (low <= times[0] && high >= times[times.length - 1]) ? [0, data.span] : [low, high];
  };

  const several = data.time[0].length <= 150;
  draw("time", {
    scales: { x: { time: false, range: window }, y: latencyScale() },
    axes: [axis({ label: "time since the start (" + data.unit + ")" }), latencyAxis()],
    series: [
      { label: "time (" + data.unit + ")", value: (chart, value) => (value == null ? "–" : String(Number(value.toFixed(3)))) },
      line("max", "--range", { stroke: colour("--range") }),
      line("p99", "--median", { paths: () => null, points: { show: false } }),
      line("median", "--median", { points: { show: several, size: 5 } }),
      line("min", "--range", { stroke: colour("--range") }),
      { label: "lost", stroke: colour("--lost"), scale: "lost", paths: () => null, points: { show: false }, value: (chart, value) => (value == null ? "–" : String(value)) },
    ],
    bands: [{ series: [1, 4], fill: colour("--range") }],
    hooks: { draw: [losses] },
  }, data.time);

  if (data.distribution[0].length) {
    draw("distribution", {
      scales: { x: { time: false, distr: 3, range: () => data.inverse }, y: latencyScale() },
      axes: [axis({
        splits: () => data.percentiles.map(([value]) => value),
        values: (chart) => data.percentiles.map(([value, label]) => (value === 2 && chart.width < 500 ? "" : label)),
        filter: (chart, splits) => splits,
      }), latencyAxis()],
      series: [
        { label: "percentile", value: (chart, value) => (value == null ? "–" : share(value)) },
        line("at most", "--median", { points: { show: false } }),
      ],
      cursor: { drag: { x: false, y: false } },
    }, data.distribution);
  } else {
    document.getElementById("distribution").textContent = "no reply";
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((chart) => chart.redraw()));
})();
