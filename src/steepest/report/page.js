"use strict";
(() => {
  const { templates, figures } = JSON.parse(document.getElementById("figures").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const touch = window.matchMedia("(pointer: coarse), (max-width: 46rem)").matches;
  const template = () => templates[dark.matches ? "dark" : "light"];
  const config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: touch ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
  };
  const each = (selector, act) => document.querySelectorAll(selector).forEach(act);

  // Figures: on a touch screen a finger scrolls the page, so nothing there is dragged. Hundreds of them take a minute to
  // draw, so each is drawn when it comes near, and the rest while nothing else is to be done.
  const waiting = new Set(Object.keys(figures));
  const draw = (name) => {
    if (!waiting.delete(name)) return;
    const figure = figures[name];
    const layout = { ...structuredClone(figure.layout), template: template(), dragmode: touch ? false : "zoom" };
    Plotly.newPlot(name, figure.data, layout, config);
  };
  const near = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        near.unobserve(entry.target);
        draw(entry.target.id);
      }
    },
    { rootMargin: "800px" },
  );
  const idle = window.requestIdleCallback ?? ((act) => setTimeout(act, 50)); // Safari has none
  const rest = () => {
    const [name] = waiting;
    if (name === undefined) return;
    draw(name);
    idle(rest);
  };
  for (const name of waiting) near.observe(document.getElementById(name));
  idle(rest);
  window.addEventListener("beforeprint", () => [...waiting].forEach(draw));
  dark.addEventListener("change", () => {
    for (const name of Object.keys(figures)) if (!waiting.has(name)) Plotly.relayout(name, { template: template() });
  });

  // Log or linear: the button names what it changes to.
  each("[data-scale]", (button) =>
    button.addEventListener("click", () => {
      const name = button.dataset.scale;
      draw(name);
      const scale = document.getElementById(name).layout.yaxis.type === "log" ? "linear" : "log";
      Plotly.relayout(name, { yaxis: structuredClone(figures[name].axes[scale]) });
      button.textContent = scale === "log" ? "linear scale" : "log scale";
    }),
  );

  // The legend hides and shows a strategy in every figure.
  each("[data-strategy]", (button) =>
    button.addEventListener("click", () => {
      const visible = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(visible));
      for (const [name, figure] of Object.entries(figures)) {
        const mine = figure.data.flatMap((trace, i) => (trace.legendgroup === button.dataset.strategy ? [i] : []));
        if (waiting.has(name)) for (const i of mine) figure.data[i].visible = visible;
        else if (mine.length) Plotly.restyle(name, { visible }, mine);
      }
    }),
  );

  // Headers sort their table; empty cells stay last either way.
  each("thead button", (button) =>
    button.addEventListener("click", () => {
      const header = button.closest("th");
      const column = header.cellIndex;
      const body = header.closest("table").tBodies[0];
      const up = header.getAttribute("aria-sort") !== "ascending";
      const key = (row) => row.cells[column].dataset.sort;
      const numeric = header.classList.contains("number");
      const order = (a, b) => (numeric ? Number(a) - Number(b) : a.localeCompare(b));
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        return up ? order(x, y) : order(y, x);
      });
      body.append(...rows);
      for (const other of header.parentNode.cells) other.setAttribute("aria-sort", "none");
      header.setAttribute("aria-sort", up ? "ascending" : "descending");
    }),
  );

  each("[data-copy]", (button) =>
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
      } catch {
        window.getSelection().selectAllChildren(source);
      }
    }),
  );

  document.getElementById("download").addEventListener("click", () => {
    const text = document.getElementById("raw").textContent;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "steepest-report.json";
    link.click();
    URL.revokeObjectURL(link.href);
  });
})();
