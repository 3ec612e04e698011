"use strict";
// Filters the list of records, which sorts as any table. Without it the page shows all, the newest first.
(() => {
  const box = document.querySelector("[data-records]");
  const [form, table, count] = ["form", "table", "[data-count]"].map((name) => box.querySelector(name));
  const rows = [...table.tBodies[0].rows];
  const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));

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

  sortable(table);
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
})();
