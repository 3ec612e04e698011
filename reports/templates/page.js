"use strict";
// Draws every figure of the page in the colours of the page, and again when those change.
(() => {
  const blocks = [...document.querySelectorAll("script[data-figure]")];
  const root = document.documentElement;
  const config = { responsive: true, displayModeBar: false, displaylogo: false, showSendToCloud: false, showTips: false };

  const PAPER = 640; // width of a figure on paper, in CSS pixels: fits A4 and US Letter within their margins

  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  function template() {
    const line = colour("--line");
    const title = { standoff: 10, font: { size: 13 } };
    // ticks that cannot be seen keep the numbers of both axes apart where they meet
    const ticks = { ticks: "outside", ticklen: 5, tickcolor: "rgba(0,0,0,0)" };
    const axis = { gridcolor: line, linecolor: line, zerolinecolor: line, automargin: true, title, ...ticks };
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
      blocks.map(async (block) => {  // so that a figure that fails leaves the others alone
        const { data, layout } = JSON.parse(block.textContent);
        const printed = root.classList.contains("print");
        const box = document.getElementById(block.dataset.figure);
        const narrow = window.innerWidth < 600 && !printed;
        const margin = narrow ? { ...layout.margin, l: 40 } : layout.margin;
        // beforeprint comes before the paper's width is known, so that plotly would draw for the screen's
        const width = printed ? { autosize: false, width: PAPER / box.parentElement.dataset.columns } : { autosize: true };
        return Plotly.react(box, data, { ...layout, ...width, margin, template: look }, config);
      }),
    ).then(() => { root.dataset.drawn = String(blocks.length); });
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("beforeprint", () => { root.classList.add("print"); draw(); });
  addEventListener("afterprint", () => { root.classList.remove("print"); draw(); });
  draw();
})();
