"use strict";
// Confusion matrix: counts or shares, arrow keys from cell to cell; a cell or a class asks the image browser for its images.
for (const box of document.querySelectorAll("[data-matrix]")) {
  const heads = [...box.querySelectorAll("thead button")];
  const rows = [...box.querySelectorAll("tbody tr")].map((row) => ({
    head: row.querySelector("th button"),
    cells: [...row.querySelectorAll("td")].map((cell) => ({ cell, button: cell.querySelector("button") })),
  }));
  const total = (head) => Number(head.dataset.total);
  const percent = (share, sign = "%") => (share > 0 && share < 0.005 ? `<1${sign}` : `${Math.round(100 * share)}${sign}`);
  const number = (head) => Number(head.dataset.number);

  for (const { head, cells } of rows) {
    head.dataset.browse = JSON.stringify({ label: number(head) });
    cells.forEach(({ button }, column) => {
      if (!button) return;
      const count = Number(button.textContent.replaceAll(",", ""));
      const [ofLabel, ofPredicted] = [count / total(head), count / total(heads[column])];
      const says = `${head.textContent} predicted as ${heads[column].textContent}: ${button.textContent} images, ` +
        `${percent(ofLabel)} of the label, ${percent(ofPredicted)} of the predicted`;
      Object.assign(button.dataset, { count: button.textContent, row: ofLabel, column: ofPredicted });
      button.dataset.browse = JSON.stringify({ label: number(head), predicted: number(heads[column]) });
      button.setAttribute("aria-label", says);
      button.title = says;
    });
  }
  for (const head of heads) head.dataset.browse = JSON.stringify({ predicted: number(head) });

  const sign = box.classList.contains("dense") ? "" : "%";
  box.querySelector("[data-switch]").hidden = false;
  box.addEventListener("change", (event) => {
    const kind = event.target.value;
    for (const { button, cell } of rows.flatMap((row) => row.cells)) {
      if (!button) continue;
      const share = Number(button.dataset[kind === "column" ? "column" : "row"]);
      button.textContent = kind === "count" ? button.dataset.count : percent(share, sign);
      cell.style.setProperty("--share", share);
    }
  });

  // as it is seen, for it is no figure of plotly's
  function picture() {
    const SCALE = 2;
    const table = box.querySelector("table");
    table.parentElement.scrollTo(0, 0);
    const frame = table.getBoundingClientRect();
    const canvas = Object.assign(document.createElement("canvas"), { width: SCALE * frame.width, height: SCALE * frame.height });
    const paper = canvas.getContext("2d");
    paper.scale(SCALE, SCALE);
    paper.fillStyle = getComputedStyle(document.body).backgroundColor;
    paper.fillRect(0, 0, frame.width, frame.height);
    Object.assign(paper, { textAlign: "center", textBaseline: "middle" });
    for (const cell of table.querySelectorAll("th, td")) {
      const { x, y, width, height } = cell.getBoundingClientRect();
      const words = cell.querySelector("button") ?? cell;
      const look = getComputedStyle(words);
      const turned = look.writingMode.startsWith("vertical");
      paper.save();
      paper.translate(x - frame.x, y - frame.y);
      paper.fillStyle = getComputedStyle(cell).backgroundColor;
      paper.fillRect(0, 0, width, height);
      paper.translate(width / 2, height / 2);
      if (turned) paper.rotate(-Math.PI / 2);
      Object.assign(paper, { font: look.font, fillStyle: look.color });
      paper.fillText(words.textContent, 0, 0, (turned ? height : width) - 2);
      paper.restore();
    }
    return canvas;
  }
  box.append(saveButtons(box.querySelector("h3").textContent, picture, () => box.querySelector("table")));

  // one stop of the tab key; arrow keys go to the next cell that is not empty
  const grid = [[null, ...heads], ...rows.map(({ head, cells }) => [head, ...cells.map(({ button }) => button)])];
  const buttons = grid.flat().filter(Boolean);
  const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const enter = (button) => {
    for (const other of buttons) other.tabIndex = other === button ? 0 : -1;
  };
  enter(buttons[0]);
  box.addEventListener("focusin", (event) => {
    if (buttons.includes(event.target)) enter(event.target);
  });
  box.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step || !buttons.includes(event.target)) return;
    event.preventDefault();
    let row = grid.findIndex((line) => line.includes(event.target));
    let column = grid[row].indexOf(event.target);
    do {
      row += step[0];
      column += step[1];
    } while (grid[row] && column >= 0 && column < grid[row].length && !grid[row][column]);
    grid[row]?.[column]?.focus();
  });
}
