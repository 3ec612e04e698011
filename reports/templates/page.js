"use strict";
// Draws every figure of the page in the colours of the page, and again when those change.
(() => {
  const blocks = [...document.querySelectorAll("script[data-figure]")];
  const root = document.documentElement;
  const config = { responsive: true, displayModeBar: false, displaylogo: false, showSendToCloud: false, showTips: false };

  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  function template() {
    const axis = { gridcolor: colour("--line"), linecolor: colour("--line"), zerolinecolor: colour("--line"), automargin: true };
    return {
      layout: {
        font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colour("--text") },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        xaxis: axis,
        yaxis: axis,
        hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--text") } },
      },
      data: { heatmap: [{ textfont: { color: colour("--text") } }] },
    };
  }

  function draw() {
    const look = template();
    return Promise.all(
      blocks.map((block) => {
        const { data, layout } = JSON.parse(block.textContent);
        const narrow = window.innerWidth < 600;
        const margin = narrow ? { ...layout.margin, l: 40, r: 8 } : layout.margin;
        return Plotly.react(block.dataset.figure, data, { ...layout, margin, template: look }, config);
      }),
    ).then(() => { root.dataset.drawn = String(blocks.length); });
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("beforeprint", () => { root.classList.add("print"); draw(); });
  addEventListener("afterprint", () => { root.classList.remove("print"); draw(); });
  draw();
})();
