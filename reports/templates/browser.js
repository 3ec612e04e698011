"use strict";
// Filters, sorts and enlarges the images of the page. Without it the page shows the images drawn at random.
(() => {
  const box = document.querySelector("[data-browser]");
  const data = JSON.parse(document.getElementById(box.dataset.browser).textContent);
  const [form, list, dialog] = ["form", "ul", "dialog"].map((name) => box.querySelector(name));
  const [count, more] = ["[data-count]", "[data-more]"].map((name) => box.querySelector(name));
  const [heading, see] = ["h3", "[data-see]"].map((name) => box.querySelector(name));
  const title = heading.textContent;
  const MORE = 96;

  const drawn = [...list.children].map((item) => item.querySelector("img")?.src ?? null);
  const jpeg = (content) => `data:image/jpeg;base64,${content}`;
  const source = (place, picture) => (place < data.grid ? drawn[place] : picture < 0 ? null : jpeg(data.pictures[picture]));
  const name = (number) => data.classes[number] ?? "–";
  const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}%`;
  const searchable = (...texts) => texts.join(" ").toLowerCase();
  const RUNS = data.runs ?? null; // of a comparison, whose images are those they disagree on
  const images = data.images.map(RUNS ? fromRuns : fromOne);

  function fromOne([path, label, predicted, confidence, top, picture], place) {
    return {
      path, label, predicted, confidence, top, place,
      right: label === predicted,
      source: source(place, picture),
      maps: mapsOf(place, label, predicted),
      text: searchable(path, data.classes[label], data.classes[predicted]),
    };
  }
  // Evidence for two classes: its number, and a promise of the picture for one that is given.
  function mapsOf(place, label, predicted) {
    const drawn = (data.evidence[place] ?? []).map((content, k) => [k ? label : predicted, () => jpeg(content)]);
    const maps = (data.heat?.maps[place] ?? []).map(([number, levels]) => [number, (picture) => heated(picture, levels)]);
    return [...maps, ...drawn];
  }
  function fromRuns([path, label, said, sure, picture], place) {
    const wrong = sure.filter((_, run) => said[run] !== label);
    return {
      path, label, said, sure, place,
      confidence: Math.max(0, ...wrong),
      source: source(place, picture),
      maps: [],
      text: searchable(path, data.classes[label], ...said.map((number) => data.classes[number])),
    };
  }

  // A picture in grey under its evidence, as `heat` of kit/insights/evidence.py draws it.
  async function heated(picture, letters) {
    const { colours, covers, steep, grid: [rows, columns] } = data.heat;
    const levels = Uint8Array.from(atob(letters), (letter) => letter.charCodeAt(0));
    const image = made("img", { src: picture });
    await image.decode();
    const { naturalWidth: width, naturalHeight: height } = image;
    const canvas = made("canvas", { width, height });
    const paper = canvas.getContext("2d");
    paper.drawImage(image, 0, 0);
    const pixels = paper.getImageData(0, 0, width, height);
    const between = (from, to, part) => from + part * (to - from);
    const spot = (at, side, places) => {
      const real = Math.min(places - 1, Math.max(0, ((at + 0.5) * places) / side - 0.5));
      return [Math.floor(real), Math.min(places - 1, Math.floor(real) + 1), real % 1];
    };
    for (let y = 0, to = 0; y < height; y++) {
      const [above, below, down] = spot(y, height, rows);
      for (let x = 0; x < width; x++, to += 4) {
        const [left, right, along] = spot(x, width, columns);
        const across = (row) => between(levels[row * columns + left], levels[row * columns + right], along);
        const share = between(across(above), across(below), down) / 255;
        const stop = Math.min(colours.length - 2, Math.floor(share * (colours.length - 1)));
        const part = share * (colours.length - 1) - stop, over = covers * Math.min(1, steep * share);
        const [red, green, blue] = pixels.data.subarray(to, to + 3);
        const grey = 0.299 * red + 0.587 * green + 0.114 * blue;
        for (let k = 0; k < 3; k++) pixels.data[to + k] = between(grey, between(colours[stop][k], colours[stop + 1][k], part), over);
      }
    }
    paper.putImageData(pixels, 0, 0);
    return canvas.toDataURL();
  }

  // What a picture says to those who do not see it.
  const words = (one) => RUNS
    ? `${name(one.label)}, predicted as ${one.said.map((number, run) => `${name(number)} by ${RUNS[run]}`).join(", ")}`
    : `${name(one.label)}, predicted as ${name(one.predicted)}, ${percent(one.confidence)}`;
  const made = (tag, attributes = {}, ...inner) => {
    const element = Object.assign(document.createElement(tag), attributes);
    element.append(...inner);
    return element;
  };
  const cut = (path) => {  // as drawing.cut: start and end stay in sight
    const shown = path.replace(/^\u2068|\u2069$/g, "");
    const halves = [shown.slice(0, -9), shown.slice(-9)].map((half) => made("span", {}, half));
    return made("bdi", { className: "cut", title: shown }, ...halves);
  };

  const ORDERS = {
    drawn: (a, b) => a.place - b.place,
    most: (a, b) => b.confidence - a.confidence || a.place - b.place,
    least: (a, b) => a.confidence - b.confidence || a.place - b.place,
    label: (a, b) => a.label - b.label || a.predicted - b.predicted || a.place - b.place,
    path: (a, b) => (a.path < b.path ? -1 : Number(a.path > b.path)),
  };
  let found = images;
  let shown = data.grid;
  let brushed = null; // places of the images that another part of the page chose
  const unbrush = made("button", { type: "button", hidden: true });
  let open = 0; // place in `found` of the image in the dialog

  function matches() {
    const asked = Object.fromEntries(new FormData(form));
    const [low, high] = [asked.low ?? "", asked.high ?? ""].map((share, end) => (share === "" ? end : share / 100));
    const any = (field) => (asked[field] ?? "") === "";
    const searched = asked.text.trim().toLowerCase();
    const chosen = (one) =>
      (any("label") || one.label === Number(asked.label)) &&
      (any("predicted") || one.predicted === Number(asked.predicted)) &&
      (any("answer") || one.right === (asked.answer === "right")) &&
      (any("right") || one.said[asked.right] === one.label) &&
      (any("wrong") || one.said[asked.wrong] !== one.label) &&
      (!brushed || brushed.has(one.place)) &&
      one.confidence >= low && one.confidence <= high && one.text.includes(searched);
    return images.filter(chosen).sort(ORDERS[asked.sort]);
  }

  function picture(source, alt) {
    return source ? made("img", { src: source, alt, decoding: "async" }) : made("span", { className: "absent" }, "no picture recorded");
  }

  // The evidence for a class over an image; the image itself until it is drawn.
  function lit(one, [number, draw], alt) {
    const shown = picture(one.source, alt);
    const source = one.source && draw(one.source);
    if (source) Promise.resolve(source).then((drawn) => { Object.assign(shown, { src: drawn }).dataset.evidence = number; });
    return shown;
  }

  function card(one, place) {
    const caption = RUNS ? captionOfRuns(one) : captionOfOne(one);
    caption.append(made("span", { className: "path" }, cut(one.path)));
    const [map] = form.elements.heat?.checked ? one.maps : [];
    const shown = map ? lit(one, map, `evidence for ${name(map[0])}: ${words(one)}`) : picture(one.source, words(one));
    const button = made("button", { type: "button", className: "enlarge", title: one.path }, shown, caption);
    button.addEventListener("click", () => enlarge(place));
    return made("li", { className: `thumbnail ${RUNS ? "" : one.right ? "right" : "wrong"}` }, button);
  }

  function captionOfRuns(one) {
    const lines = one.said.map((number, run) =>
      made("span", { className: "line" }, `${number === one.label ? "✓" : "✗"} `, made("bdi", {}, RUNS[run]), ": ", made("bdi", {}, name(number))));
    return made("span", { className: "caption" }, made("span", { className: "line" }, "is ", made("bdi", {}, name(one.label))), ...lines);
  }

  function captionOfOne(one) {
    const mark = made("span", { className: "mark" }, one.right ? "✓" : "✗", made("span", { className: "hidden" }, one.right ? "right:" : "wrong:"));
    const says = [made("span", { className: "line first" }, made("bdi", {}, name(one.predicted)), ` ${percent(one.confidence)}`)];
    if (!one.right) says.push(made("span", { className: "line" }, "is ", made("bdi", {}, name(one.label))));
    return made("span", { className: "caption" }, mark, ...says);
  }

  function draw() {
    const first = form.elements.sort.value === "drawn" && found.length === images.length && shown === data.grid;
    heading.textContent = first ? title : "Images as asked for";
    see.hidden = !first;
    const visible = found.slice(0, shown);
    list.replaceChildren(...visible.map(card));
    const wrong = found.filter((one) => !one.right).length;
    const whole = found.length === images.length;
    count.textContent = `${visible.length.toLocaleString("en")} shown of ${found.length.toLocaleString("en")} ` +
      `${whole ? "images" : `that match, among ${images.length.toLocaleString("en")} images`}` +
      (RUNS ? "." : `; ${wrong.toLocaleString("en")} of them wrong.`);
    more.hidden = found.length <= shown;
    more.textContent = `Show ${Math.min(MORE, found.length - shown)} more`;
  }

  function apply() {
    found = matches();
    shown = data.grid;
    draw();
  }

  function enlarge(place) {
    open = place;
    const one = found[place];
    const part = (id) => dialog.querySelector(`[data-${id}]`);
    const labelled = (caption, draw) => made("figure", {}, draw(`${caption}: ${words(one)}`), made("figcaption", {}, caption));
    const views = [labelled("the image", (alt) => picture(one.source, alt))];
    for (const map of one.maps) views.push(labelled(`evidence for ${name(map[0])}`, (alt) => lit(one, map, alt)));
    const heading = RUNS ? ["is ", made("bdi", {}, name(one.label))]
      : [one.right ? "✓ " : "✗ ", made("bdi", {}, name(one.predicted)), one.right ? "" : ", is ", made("bdi", {}, one.right ? "" : name(one.label))];
    const top = RUNS ? one.said.map((number, run) => [`${number === one.label ? "✓" : "✗"} ${RUNS[run]}: ${name(number)}`, one.sure[run]])
      : (one.top.length ? one.top : [[one.predicted, one.confidence]]).map(([number, share]) => [name(number), share]);
    part("heading").replaceChildren(...heading);
    part("views").replaceChildren(...views);
    part("top").replaceChildren(...top.map(([says, share]) => {
      if (share === undefined) return made("li", {}, made("bdi", {}, says));
      const bar = made("span", { className: "bar" });
      bar.style.width = percent(share, 1);
      return made("li", {}, made("bdi", {}, says), made("span", { className: "track", ariaHidden: "true" }, bar), percent(share, 1));
    }));
    part("path").textContent = one.path;
    part("place").textContent = `${(place + 1).toLocaleString("en")} of ${found.length.toLocaleString("en")}`;
    if (!dialog.open) dialog.showModal();
  }

  function turn(step) {
    enlarge((open + step + found.length) % found.length);
  }

  // Shows what a cell, a class or a line of advice asks for: {label, predicted, answer, low, high, text, sort}; `pair`
  // are two classes of which each is predicted as the other.
  function browse({ pair, ...asked }) {
    form.reset();
    for (const [field, value] of Object.entries(asked)) form.elements[field].value = value;
    if (pair) {
      const mixed = images.filter((one) => !one.right && pair.includes(one.label) && pair.includes(one.predicted));
      brush(mixed.map((one) => one.place), `of ${pair.map(name).join(" and ")}`);
    }
    apply();
    show();
  }

  // Shows images by their places, among those that the filters leave; null for all.
  function brush(places, what = "of the map") {
    brushed = places && new Set(places);
    unbrush.hidden = !brushed;
    unbrush.textContent = brushed ? `${brushed.size.toLocaleString("en")} ${what} ✕` : "";
    unbrush.ariaLabel = brushed ? `Forget the ${unbrush.textContent.slice(0, -2)}` : null;
    apply();
    dispatchEvent(new Event("brushed"));
  }
  function show() {
    box.scrollIntoView();
    box.querySelector("h3").focus({ preventScroll: true });
  }

  for (const field of RUNS ? ["label"] : ["label", "predicted"]) {
    const used = new Set(images.map((one) => one[field]));
    const options = data.classes.map((text, number) => [text, number]).filter(([, number]) => used.has(number));
    form.elements[field].append(...options.map(([text, number]) => made("option", { value: number }, text)));
  }
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => {
    if (brushed) brush(null);
    setTimeout(apply);
  });
  unbrush.addEventListener("click", () => brush(null));
  form.querySelector("[type=reset]").before(unbrush);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const first = shown;
    shown += MORE;
    draw();
    list.children[first].firstChild.focus();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") turn(event.key === "ArrowLeft" ? -1 : 1);
  });
  dialog.addEventListener("close", () => {
    if (open >= shown) {
      shown = open + 1;
      draw();
    }
    list.children[open].firstChild.focus();
  });
  for (const button of dialog.querySelectorAll("button")) {
    button.addEventListener("click", () => (button.value === "close" ? dialog.close() : turn(Number(button.value))));
  }
  addEventListener("click", (event) => {
    const asking = event.target.closest?.("[data-browse]");
    if (asking) {
      event.preventDefault();
      browse(JSON.parse(asking.dataset.browse));
    }
  });
  globalThis.imageBrowser = { images, name, words, picture, brush, show, brushed: () => brushed };
  form.hidden = false;
  if (form.elements.heat) form.elements.heat.closest("label").hidden = !images.some((one) => one.maps.length);
  if (!RUNS) box.querySelector(".asking").hidden = images.every((one) => one.right);
  draw();
})();
