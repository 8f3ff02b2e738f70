"use strict";
(() => {
  const { templates, scales, figures, moments } = JSON.parse(document.getElementById("data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const touch = window.matchMedia("(pointer: coarse), (max-width: 46rem)").matches;
  const mode = () => (dark.matches ? "dark" : "light");
  const config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: touch ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
  };

  // Draw everything with the ways complete.
  for (const [name, figure] of Object.entries(figures)) {
    for (const i of figure.heights) figure.data[i].colorscale = scales[mode()][name];
    for (const way of figure.moving) Object.assign(figure.data[way.trace], part(way, Infinity));
    const flat = !("scene" in figure.layout);
    const drag = touch && flat ? { dragmode: false } : {};
    Plotly.newPlot(name, figure.data, { ...figure.layout, template: templates[mode()], ...drag }, config);
  }
  dark.addEventListener("change", () => {
    for (const [name, figure] of Object.entries(figures)) {
      Plotly.relayout(name, { template: templates[mode()] });
      if (figure.heights.length) Plotly.restyle(name, { colorscale: [scales[mode()][name]] }, figure.heights);
    }
  });

  // A way up to a step: its trail, or the one place where it is.
  function part(way, step) {
    let end = way.steps.length;
    while (end > 1 && way.steps[end - 1] > step) end -= 1;
    const cut = (values) => values.slice(way.head ? end - 1 : 0, end);
    const found = { x: cut(way.x), y: cut(way.y) };
    if (way.z) found.z = cut(way.z);
    return found;
  }

  const slider = document.getElementById("moment");
  if (!slider) return;
  const play = document.getElementById("play");
  const said = document.getElementById("step");
  const last = moments.length - 1;
  const seconds = Math.min(10, Math.max(3, last / 25));

  function show(i) {
    const step = moments[i];
    said.textContent = `step ${step} of ${moments[last]}`;
    for (const [name, figure] of Object.entries(figures)) {
      if (!figure.moving.length) continue;
      const parts = figure.moving.map((way) => part(way, step));
      const update = { x: parts.map((p) => p.x), y: parts.map((p) => p.y) };
      if (figure.moving[0].z) update.z = parts.map((p) => p.z);
      Plotly.restyle(name, update, figure.moving.map((way) => way.trace));
    }
  }

  let playing = null;
  function stop() {
    if (playing !== null) cancelAnimationFrame(playing);
    playing = null;
    play.textContent = "Play";
  }
  play.addEventListener("click", () => {
    if (playing !== null) return stop();
    const from = Number(slider.value) >= last ? 0 : Number(slider.value);
    const begun = performance.now();
    play.textContent = "Pause";
    const frame = (now) => {
      const i = Math.min(last, from + Math.round(((now - begun) / 1000 / seconds) * last));
      if (i !== Number(slider.value)) {
        slider.value = i;
        show(i);
      }
      if (i >= last) return stop();
      playing = requestAnimationFrame(frame);
    };
    playing = requestAnimationFrame(frame);
  });
  slider.addEventListener("input", () => {
    stop();
    show(Number(slider.value));
  });
})();
