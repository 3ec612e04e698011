"use strict";
// Tables: a click on a heading sorts, long ones are filtered by words, each can be saved as CSV. Other scripts save
// files with `saveFile`.
function saveFile(name, content) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(content), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function fileName(title, suffix) {
  const words = title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
  return `${words.slice(0, 60) || "table"}.${suffix}`;
}

function tableAsCsv(table) {
  const cell = (element) => {
    const text = element.textContent.replace(/[\u2066-\u2069]/g, "").trim();
    // a spreadsheet would run some texts (kit/csv_tables.py); plain numbers it would not
    const safe = /^[=+\-@'\t\r\n]/.test(text) && !/^[+-][\d.,]+(e[+-]?\d+)?%?$/.test(text) ? `'${text}` : text;
    return `"${safe.replaceAll('"', '""')}"`;
  };
  const rows = [...table.rows].filter((row) => !row.hidden);
  return rows.map((row) => [...row.cells].map(cell).join(",")).join("\n") + "\n";
}

function saveTable(table, title) {
  saveFile(fileName(title, "csv"), new Blob([tableAsCsv(table)], { type: "text/csv" }));
}

const LONG = 12; // rows, from which on a table has a filter
const UNITS = { ms: 0.001, s: 1, min: 60, h: 3600, bytes: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };
const NUMBER = /^(less than |<)?\s*([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?:\s?(%|[A-Za-z]+))?(?=$|[\s/:(])/;
const collator = new Intl.Collator("en", { numeric: true });

// What a cell sorts by: the number it is said to be worth, else numbers, with their unit, before words; null for a dash
// or nothing.
function worth(cell) {
  if (cell.dataset.value) return { number: Number(cell.dataset.value), words: "" };
  let text = cell.textContent.replace(/[\u2066-\u2069]/g, "").trim();
  if (text === "" || text === "–") return null;
  const words = text;
  text = text.replaceAll("−", "-").replace(/(\d),(?=\d{3})/g, "$1");
  const found = NUMBER.exec(text);
  if (!found) return { words };
  let number = Number(found[2]) * (UNITS[found[3]] ?? 1);
  if (found[3] === "min" || found[3] === "h") {
    const rest = NUMBER.exec(text.slice(found[0].length).trim());
    if (rest) number += Number(rest[2]) * (UNITS[rest[3]] ?? 1);
  }
  return { number: found[1] ? number * (1 - 1e-9) : number, words };
}

function compared(a, b) {
  if ("number" in a && "number" in b) return a.number - b.number || collator.compare(a.words, b.words);
  return "number" in b ? 1 : "number" in a ? -1 : collator.compare(a.words, b.words);
}

function sortable(table) {
  const body = table.tBodies[0];
  const recorded = [...body.rows];
  const heads = [...table.tHead.rows[0].cells].filter((cell) => cell.tagName === "TH");
  function sort() {
    const head = heads.find((one) => one.ariaSort);
    if (!head) return body.append(...recorded);
    const sign = head.ariaSort === "ascending" ? 1 : -1;
    const keyed = recorded.map((row) => [row, worth(row.cells[head.cellIndex])]);
    keyed.sort(([, a], [, b]) => (a && b ? sign * compared(a, b) : Number(!a) - Number(!b)));
    return body.append(...keyed.map(([row]) => row));
  }
  for (const head of heads) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "sort" });
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      // where the best, the newest, the largest are asked for, they come first
      const orders = "down" in head.dataset ? [null, "descending", "ascending"] : [null, "ascending", "descending"];
      const next = orders[(orders.indexOf(head.ariaSort) + 1) % 3];
      for (const other of heads) other.ariaSort = null;
      head.ariaSort = next;
      sort();
    });
  }
  table.addEventListener("changed", sort); // its cells
}

function filterable(table, tools) {
  const rows = [...table.tBodies[0].rows];
  const field = Object.assign(document.createElement("input"), { type: "search", autocomplete: "off" });
  const label = Object.assign(document.createElement("label"), { textContent: "rows with " });
  const count = Object.assign(document.createElement("span"), { className: "quiet", ariaLive: "polite" });
  label.append(field);
  tools.append(label, count);
  const apply = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    const found = rows.filter((row) => !row.hidden).length;
    count.textContent = found === rows.length ? `${rows.length.toLocaleString("en")} rows`
      : `${found.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
  };
  field.addEventListener("input", apply);
  apply();
}

for (const table of document.querySelectorAll(".scroll > table")) {
  if (table.closest(".matrix")) continue;
  const title = table.caption.textContent;
  const tools = Object.assign(document.createElement("div"), { className: "tools" });
  const long = table.tBodies[0].rows.length > LONG;
  if (long) filterable(table, tools);
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: "CSV", ariaLabel: `Save as CSV: ${title}` });
  button.addEventListener("click", () => saveTable(table, title));
  tools.append(button);
  table.parentElement[long ? "before" : "after"](tools);
  if (table.tHead && table.tBodies[0].rows.length > 1) sortable(table);
}
