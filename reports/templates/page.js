"use strict";
// Draws every figure of the page in the colours of the page, and again when those change; marks in the navigation where
// one is, opens folded sections, copies commands.

// Buttons that save a figure as PNG, drawn by `picture` on a canvas, and its numbers as CSV, which `table` gives.
function saveButtons(title, picture, table) {
  const tools = Object.assign(document.createElement("div"), { className: "tools" });
  const button = (kind, save) => {
    const made = Object.assign(document.createElement("button"), { type: "button", textContent: kind, ariaLabel: `Save as ${kind}: ${title}` });
    made.addEventListener("click", save);
    tools.append(made);
  };
  button("PNG", async () => (await picture()).toBlob((content) => saveFile(fileName(title, "png"), content)));
  button("CSV", () => saveTable(table(), title));
  return tools;
}

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

  async function drawFigure(block, look) {
    const { data, layout } = JSON.parse(block.textContent);
    const printed = root.classList.contains("print");
    const box = document.getElementById(block.dataset.figure);
    const narrow = window.innerWidth < 600 && !printed;
    const margin = narrow ? { ...layout.margin, l: 40 } : layout.margin;
    // beforeprint comes before the paper's width is known, so that plotly would draw for the screen's
    const width = printed ? { autosize: false, width: PAPER / box.parentElement.dataset.columns } : { autosize: true };
    // dragmode false leaves a touch to the page, which scrolls
    await Plotly.react(box, data, { ...layout, ...width, margin, template: look, dragmode: false }, config);
    if (!box.dataset.zooms) zoomWithShift(box);
  }

  const folded = (block) => Number(document.getElementById(block.dataset.figure).closest("details:not([open])") !== null);
  let round = 0;

  // One figure after the other, so that the browser shows the first while the next is made; those in sight before those
  // in folded sections. A change of colours starts a new round, and ends the one that is going on.
  async function draw() {
    const own = ++round;
    delete root.dataset.drawn;
    const look = template();
    let failed = false;
    const drawn = (block) => drawFigure(block, look).catch((error) => {  // so that it leaves the others alone
      failed = true;
      reportError(error);
    });
    if (root.classList.contains("print")) await Promise.all(blocks.map(drawn));  // it prints when this task ends
    else for (const block of [...blocks].sort((a, b) => folded(a) - folded(b))) {
      await drawn(block);
      await new Promise((next) => { setTimeout(next); });
      if (own !== round) return;
    }
    if (!failed) root.dataset.drawn = String(blocks.length);
  }

  // Zoom by dragging with the shift key held, and a button that takes it back.
  function zoomWithShift(box) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "unzoom", textContent: "Reset zoom", hidden: true });
    box.dataset.zooms = "";
    box.parentElement.before(button);
    box.addEventListener("pointermove", (event) => {
      const mode = event.shiftKey && event.pointerType === "mouse" ? "zoom" : false;
      if (!event.buttons && box.layout.dragmode !== mode) Plotly.relayout(box, { dragmode: mode });
    });
    box.on("plotly_relayout", (change) => {
      if (Object.keys(change).some((name) => name.includes(".range["))) button.hidden = false;
    });
    button.addEventListener("click", () => {
      const axes = Object.keys(box._fullLayout).filter((name) => /^[xy]axis\d*$/.test(name));
      Plotly.relayout(box, Object.fromEntries(axes.map((name) => [`${name}.autorange`, true])));
      button.hidden = true;
    });
  }

  // A figure as PNG, on the page's colour, and its numbers as CSV.
  async function picture(chart) {
    const SCALE = 2;
    const frame = chart.querySelector(".panels").getBoundingClientRect();
    const canvas = Object.assign(document.createElement("canvas"), { width: SCALE * frame.width, height: SCALE * frame.height });
    const paper = canvas.getContext("2d");
    paper.scale(SCALE, SCALE);
    paper.fillStyle = colour("--page");
    paper.fillRect(0, 0, frame.width, frame.height);
    for (const box of chart.querySelectorAll(".figure")) {
      const { x, y, width, height } = box.getBoundingClientRect();
      const drawn = new Image();
      drawn.src = await Plotly.toImage(box, { format: "svg", width, height });
      await drawn.decode();
      paper.drawImage(drawn, x - frame.x, y - frame.y, width, height);
    }
    return canvas;
  }
  for (const chart of document.querySelectorAll(".chart")) {
    const title = chart.querySelector("h3").textContent;
    chart.querySelector("details").before(saveButtons(title, () => picture(chart), () => chart.querySelector("table")));
  }

  // A figure in a folded section is drawn without knowing its width.
  for (const fold of document.querySelectorAll("details")) {
    fold.addEventListener("toggle", () => {
      if (fold.open) for (const box of fold.querySelectorAll(".js-plotly-plot")) Plotly.Plots.resize(box);
    });
  }

  function unfold() {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const fold = target && target.querySelector(":scope > .fold");
    if (fold) fold.open = true;
  }
  addEventListener("hashchange", unfold);
  unfold();

  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [document.querySelector(link.getAttribute("href")), link]));
  let marked = false;
  const mark = () => {
    marked = false;
    const here = [...links.keys()].filter((section) => section.getBoundingClientRect().top < innerHeight / 3).pop();
    for (const [section, link] of links) {
      if (section !== here) link.removeAttribute("aria-current");
      else if (!link.hasAttribute("aria-current")) {
        link.setAttribute("aria-current", "true");
        const list = link.closest("ul");
        list.scrollLeft = link.offsetLeft - list.offsetLeft - list.clientWidth / 3;
      }
    }
  };
  addEventListener("scroll", () => {
    if (!marked) requestAnimationFrame(mark);
    marked = true;
  }, { passive: true });
  mark();

  async function copy(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const field = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  function copyButton(element) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "copy" });
    const say = (word) => Object.assign(button, { textContent: word, ariaLabel: `${word}: ${element.textContent.trim().slice(0, 60)}` });
    say("Copy");
    button.addEventListener("click", async () => {
      await copy(element.textContent);
      say("Copied");
      setTimeout(say, 2000, "Copy");
    });
    return button;
  }
  for (const block of document.querySelectorAll("pre")) {
    const frame = Object.assign(document.createElement("div"), { className: "copyable" });
    block.replaceWith(frame);
    frame.append(block, copyButton(block));
  }
  for (const code of document.querySelectorAll(".steps code")) code.after(" ", copyButton(code));

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("theme", draw);
  addEventListener("beforeprint", () => { root.classList.add("print"); draw(); });
  addEventListener("afterprint", () => { root.classList.remove("print"); draw(); });
  draw();
})();
