"use strict";
// Sorts and filters the list of records. Without it the page shows all, the newest first.
(() => {
  const box = document.querySelector("[data-records]");
  const [form, table, count] = ["form", "table", "[data-count]"].map((name) => box.querySelector(name));
  const rows = [...table.tBodies[0].rows];
  const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const collator = new Intl.Collator("en", { numeric: true });

  function apply() {
    const asked = Object.fromEntries(new FormData(form));
    const searched = asked.text.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const state = asked.state === "" || (asked.state === "without a page" ? "bare" in row.dataset : row.dataset.state === asked.state);
      row.hidden = !(state && (asked.kind === "" || row.dataset.kind === asked.kind) && searched.every((word) => words.get(row).includes(word)));
    }
    const found = rows.filter((row) => !row.hidden).length;
    count.textContent = found === rows.length ? `${rows.length.toLocaleString("en")} records`
      : `${found.toLocaleString("en")} of ${rows.length.toLocaleString("en")} records`;
  }

  // What a cell sorts by; null for a dash or nothing, which comes last either way.
  function worth(cell) {
    if ("value" in cell.dataset) return cell.dataset.value === "" ? null : Number(cell.dataset.value);
    const text = cell.textContent.trim();
    return text === "" || text === "–" ? null : text;
  }

  function compared(a, b) {
    return typeof a === "number" ? a - b : collator.compare(a, b);
  }

  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: head.textContent });
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = place !== 0; // the best, the newest, the largest first
      const order = head.ariaSort === null ? (down ? "descending" : "ascending") : head.ariaSort === "ascending" ? "descending" : "ascending";
      for (const other of heads) other.ariaSort = null;
      head.ariaSort = order;
      const sign = order === "ascending" ? 1 : -1;
      const keyed = rows.map((row) => [row, worth(row.cells[place])]);
      keyed.sort(([, a], [, b]) => (a === null || b === null ? Number(a === null) - Number(b === null) : sign * compared(a, b)));
      table.tBodies[0].append(...keyed.map(([row]) => row));
    });
  });
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
})();
