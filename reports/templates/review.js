"use strict";
// Lets one judge the labels and findings of the page: keep, relabel or drop images, by key or click. Verdicts are kept
// in this browser, and downloaded as the corrections.csv that `transferkit train --corrections` takes.
(() => {
  const shared = JSON.parse(document.getElementById("review-data").textContent);
  const names = new Map(shared.classes.map((label, place) => [label, shared.names[place]]));
  const name = (label) => names.get(label) ?? "–";
  const earlier = new Map(shared.earlier.map((row) => [row[0], row]));
  const labels = new Map(); // path -> label, of the images on this page
  const verdicts = new Map(); // path -> [action, new label]
  const ACTIONS = { keep: "kept", relabel: "relabelled", drop: "dropped" };
  const count = (number) => number.toLocaleString("en");
  const made = (tag, attributes = {}, ...inner) => {
    const element = Object.assign(document.createElement(tag), attributes);
    element.append(...inner);
    return element;
  };

  let stored = true; // whether the browser keeps the verdicts
  function load() {
    for (const [path, , action] of shared.earlier) {
      if (labels.has(path) && action !== "drop") verdicts.set(path, ["keep", ""]); // its label was judged before
    }
    try {
      for (const [path, action, label] of JSON.parse(localStorage.getItem(shared.key) ?? "[]")) {
        if (action === "undo") verdicts.delete(path);
        else if (labels.has(path) && ACTIONS[action] && (action !== "relabel" || names.has(label))) verdicts.set(path, [action, label]);
      }
    } catch {
      stored = false;
    }
  }
  function save() {
    const undone = [...earlier.keys()].filter((path) => labels.has(path) && !verdicts.has(path)).map((path) => [path, "undo", ""]);
    try {
      localStorage.setItem(shared.key, JSON.stringify([...undone, ...[...verdicts].map(([path, verdict]) => [path, ...verdict])]));
    } catch {
      stored = false;
    }
  }

  // Rows of the file: those of the corrections that the record was made with, and over them the verdicts, each on the
  // label that the data themselves have.
  function rows() {
    const found = new Map(earlier);
    for (const [path, [action, label]] of verdicts) {
      const before = earlier.get(path);
      const own = before ? before[1] : labels.get(path);
      const wanted = action === "relabel" ? label : labels.get(path);
      found.set(path, action === "drop" ? [path, own, "drop", ""] : wanted === own ? [path, own, "keep", ""] : [path, own, "relabel", wanted]);
    }
    return [...found.values()].sort(([a], [b]) => (a < b ? -1 : Number(a > b)));
  }
  // As kit.csv_tables writes text: quoted, and nothing that a spreadsheet would run.
  const cell = (text) => (text ? `"${(/^[=+\-@'\t\r\n]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"` : "");
  function file() {
    const text = [["path", "label", "action", "new_label"], ...rows()].map((row) => `${row.map(cell).join(",")}\n`).join("");
    // bytes of a name that are no UTF-8 are lone surrogates (PEP 383)
    const parts = text.split(/([\udc80-\udcff])/u).map((part) => (/^[\udc80-\udcff]$/u.test(part) ? new Uint8Array([part.charCodeAt(0) - 0xdc00]) : part));
    return new Blob(parts, { type: "text/csv" });
  }
  function download() {
    const link = made("a", { href: URL.createObjectURL(file()), download: shared.file });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  const boxes = [...document.querySelectorAll("[data-review]")].map((box) => {
    const items = JSON.parse(document.getElementById(box.dataset.review).textContent);
    for (const { images } of items) for (const [path, label] of images) labels.set(path, label);
    return { box, items, cards: [...box.querySelectorAll("li.thumbnail")] };
  });
  load();

  const verdictsOf = (item) => item.images.map(([path]) => verdicts.get(path));
  const isOpen = (item) => verdictsOf(item).some((verdict) => !verdict);

  // A verdict in words; empty where there is none yet.
  function says(item) {
    const given = verdictsOf(item);
    if (given.some((verdict) => !verdict)) return "";
    const of = (action) => given.filter((verdict) => verdict[0] === action).length;
    if (of("relabel")) return `→ ${name(given.find((verdict) => verdict[0] === "relabel")[1])}`;
    if (of("keep") === given.length) return "kept";
    if (of("drop") === given.length) return "dropped";
    return `${of("keep")} kept, ${of("drop")} dropped`;
  }

  for (const { box, items, cards } of boxes) {
    const part = (id) => box.querySelector(`[data-${id}]`);
    const dialog = box.querySelector("dialog");
    const classes = dialog.querySelector("select");
    let open = 0;

    const buttons = cards.map((card, place) => {
      const button = made("button", { type: "button", className: "verdict" });
      button.addEventListener("click", () => show(place));
      card.querySelector(".pictures").addEventListener("click", () => show(place));
      card.querySelector("figcaption").append(button);
      return button;
    });

    function mark() {
      buttons.forEach((button, place) => {
        const said = says(items[place]);
        button.textContent = said || "to review";
        button.setAttribute("aria-label", `${said || "to review"}: ${items[place].images[0][2]}`);
        cards[place].classList.toggle("judged", said !== "");
      });
      const done = items.filter((item) => !isOpen(item)).length;
      const here = new Set(items.flatMap((item) => item.images.map(([path]) => path)));
      const given = [...verdicts].filter(([path]) => here.has(path)).map(([, [action]]) => action);
      const counts = Object.entries(ACTIONS).map(([action, word]) => `${count(given.filter((one) => one === action).length)} ${word}`);
      const all = rows().length;
      part("progress").textContent = `${count(done)} of ${count(items.length)} reviewed: ${counts.join(", ")}.`;
      part("bar").value = done;
      part("start").textContent = done === items.length ? "Look again" : done ? "Go on reviewing" : "Review";
      part("download").disabled = all === 0;
      part("download").textContent = `Download ${shared.file} (${count(all)} ${all === 1 ? "row" : "rows"})`;
      part("stored").textContent = stored
        ? `Verdicts are kept in this browser. The file holds those of the whole page${earlier.size ? ", over the corrections that were made before" : ""}.`
        : "This browser keeps nothing for a page: download the file before you close it.";
    }

    // Places of a set's images that are shown: those with a picture, or else the first.
    function visible(item) {
      const pictured = item.images.flatMap(([, , , picture], number) => (picture >= 0 ? [number] : []));
      return pictured.length ? pictured : [0];
    }

    function show(place) {
      open = place;
      const item = items[place];
      const several = item.images.length > 1;
      const pictures = [...cards[place].querySelectorAll("img")];
      dialog.querySelector("[data-views]").replaceChildren(...visible(item).map((number) => {
        const [path, label, shown, picture] = item.images[number];
        const verdict = verdicts.get(path);
        const source = picture >= 0 ? pictures[picture].src : "";
        const view = source ? made("img", { src: source, alt: `labelled ${name(label)}` }) : made("span", { className: "absent" }, "no picture recorded");
        const state = !verdict ? "" : verdict[0] === "relabel" ? `→ ${name(verdict[1])}` : ACTIONS[verdict[0]];
        const caption = made("figcaption", {}, made("span", { className: "line first" }, "labelled ", made("bdi", {}, name(label))), made("span", { className: "path" }, made("bdi", {}, shown)), made("strong", { className: "line" }, state));
        const figure = made("figure", {}, view, caption);
        if (several) {
          const only = made("button", { type: "button" }, made("kbd", {}, String(number + 1)), " Keep only this");
          only.addEventListener("click", () => judge("only", number));
          figure.append(only);
        }
        return figure;
      }));
      const unseen = item.images.length - visible(item).length;
      dialog.querySelector("[data-says]").textContent = [item.says, unseen ? `${count(unseen)} more without a picture here.` : ""].join(" ");
      classes.value = item.proposed || item.images[0][1];
      for (const [action, words] of [["keep", several ? "Keep all" : "Keep"], ["relabel", several ? "Label all" : "Relabel"], ["drop", several ? "Drop all" : "Drop"]]) {
        dialog.querySelector(`[value=${action}] span`).textContent = words;
      }
      dialog.querySelector("[value=undo]").disabled = verdictsOf(item).every((verdict) => !verdict);
      const done = items.filter((one) => !isOpen(one)).length;
      dialog.querySelector("[data-place]").textContent = `${count(place + 1)} of ${count(items.length)}, ${done === items.length ? "all reviewed" : `${count(done)} reviewed`}`;
      if (!dialog.open) dialog.showModal();
    }

    const turn = (step) => show((open + step + items.length) % items.length);

    function judge(action, value) {
      const item = items[open];
      item.images.forEach(([path, label], place) => {
        if (action === "undo") verdicts.delete(path);
        else if (action === "only") verdicts.set(path, [place === value ? "keep" : "drop", ""]);
        else verdicts.set(path, action === "relabel" && value !== label ? ["relabel", value] : [action === "relabel" ? "keep" : action, ""]);
      });
      save();
      for (const other of boxes) other.mark();
      const next = items.map((_, k) => (open + 1 + k) % items.length).find((k) => isOpen(items[k]));
      show(action === "undo" || next === undefined ? open : next);
    }

    classes.append(...shared.classes.map((label, place) => made("option", { value: label }, shared.names[place])));
    dialog.addEventListener("keydown", (event) => {
      if (event.target === classes || event.ctrlKey || event.metaKey || event.altKey) return;
      const key = event.key.toLowerCase();
      if (key === "arrowleft" || key === "arrowright") turn(key === "arrowleft" ? -1 : 1);
      else if (key === "k") judge("keep");
      else if (key === "r") judge("relabel", classes.value);
      else if (key === "d") judge("drop");
      else if (key === "u") judge("undo");
      else if (items[open].images.length > 1 && visible(items[open]).includes(key - 1)) judge("only", key - 1);
    });
    for (const button of dialog.querySelectorAll("button")) {
      button.addEventListener("click", () => {
        if (button.value === "close") dialog.close();
        else if (button.value === "-1" || button.value === "1") turn(Number(button.value));
        else judge(button.value, classes.value);
      });
    }
    dialog.addEventListener("close", () => buttons[open].focus());
    part("start").addEventListener("click", () => show(Math.max(0, items.findIndex(isOpen))));
    part("download").addEventListener("click", download);
    part("bar").max = items.length;
    part("work").hidden = false;
    // said once in a section: what the file holds, and which command takes it
    part("handover").hidden = box.closest("section").querySelector("[data-review]") !== box;
    boxes.find((one) => one.box === box).mark = mark;
  }
  for (const one of boxes) one.mark();
  // another tab of the same page
  addEventListener("storage", (event) => {
    if (event.key !== shared.key) return;
    verdicts.clear();
    load();
    for (const one of boxes) one.mark();
  });
})();
