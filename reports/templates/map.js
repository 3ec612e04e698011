"use strict";
// The map of the images: hover or arrow keys show one, a drag or the arrow keys with shift choose those in a rectangle,
// which the image browser then shows; a tap shows one, a class of the legend is marked.
for (const box of document.querySelectorAll("[data-map]")) {
  const browser = globalThis.imageBrowser;
  const field = box.querySelector(".field"), svg = field.querySelector("svg");
  const [tools, says, show, clear, touch] = ["tools", "says", "show", "clear", "touch"].map((name) => box.querySelector(`[data-${name}]`));
  const points = [...svg.querySelectorAll("[data-place]")].map((group) => {
    const { e: x, f: y } = group.transform.baseVal.consolidate().matrix;
    return { group, x, y, one: browser.images[Number(group.dataset.place)] };
  });
  const tip = Object.assign(document.createElement("div"), { className: "tip", hidden: true });
  const frame = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  frame.setAttribute("class", "brush");
  let here = null, anchor = null, start = null, mine = false;
  field.append(tip);
  svg.tabIndex = 0;
  svg.setAttribute("role", "application");
  svg.setAttribute("aria-label", `${svg.getAttribute("aria-label")} Arrow keys go from image to image, with shift they choose; escape clears.`);
  tools.hidden = points.length === 0;

  const scale = () => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  function at(event) {
    const { x, y } = svg.getBoundingClientRect();
    return { x: (event.clientX - x) / scale(), y: (event.clientY - y) / scale() };
  }
  const apart = (a, b) => Math.hypot(a.x - b.x, a.y - b.y);

  function look(point) {
    here?.group.classList.remove("here");
    here = point;
    tip.hidden = !point;
    if (!point) return;
    point.group.classList.add("here");
    point.group.parentNode.append(point.group); // in front of its neighbours
    if (frame.isConnected) svg.append(frame);
    tip.replaceChildren(browser.picture(point.one.source, ""), `${point.one.right ? "✓" : "✗"} ${browser.words(point.one)}`);
    // beside the point and within the drawing, so that it covers neither the point nor the buttons above and below
    const x = point.x * scale(), y = point.y * scale(), room = field.getBoundingClientRect(), { offsetWidth: width, offsetHeight: height } = tip;
    tip.style.left = `${x > room.width / 2 ? Math.max(0, x - width - 16) : Math.min(room.width - width, x + 16)}px`;
    tip.style.top = `${Math.max(0, Math.min(room.height - height, y - height / 2))}px`;
  }

  function choose(a, b) {
    const [left, right] = [Math.min(a.x, b.x), Math.max(a.x, b.x)], [top, bottom] = [Math.min(a.y, b.y), Math.max(a.y, b.y)];
    for (const [name, value] of Object.entries({ x: left, y: top, width: right - left, height: bottom - top })) frame.setAttribute(name, value);
    svg.append(frame);
    return points.filter((point) => point.x >= left && point.x <= right && point.y >= top && point.y <= bottom);
  }
  function told(chosen) {
    const wrong = chosen.filter((point) => !point.one.right).length;
    says.textContent = `${chosen.length.toLocaleString("en")} chosen, ${wrong.toLocaleString("en")} of them wrong.`;
  }
  function hand(chosen) {
    if (!chosen.length) return forget();
    told(chosen);
    mine = true;
    browser.brush(chosen.map((point) => point.one.place));
    mine = false;
    show.hidden = clear.hidden = false;
  }
  function forget() {
    anchor = null;
    frame.remove();
    says.textContent = "";
    show.hidden = clear.hidden = true;
    if (browser.brushed()) browser.brush(null);
  }
  addEventListener("brushed", () => { if (!mine && !browser.brushed()) forget(); });

  function reach(to) {
    const nearest = points.reduce((best, point) => (!best || apart(point, to) < apart(best, to) ? point : best), null);
    const reached = nearest && apart(nearest, to) * scale() < 16 ? nearest : null;
    if (reached !== here) look(reached);
  }
  svg.addEventListener("pointermove", (event) => {
    const to = at(event);
    if (!start) return reach(to);
    told(choose(start, to));
    look(null);
  });
  svg.addEventListener("click", (event) => reach(at(event))); // of a finger, which left the drawing before it
  svg.addEventListener("pointerleave", () => { if (!start) look(null); });
  svg.addEventListener("pointerdown", (event) => {
    if (event.button || (event.pointerType === "touch" && touch.getAttribute("aria-pressed") !== "true")) return;
    start = at(event);
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointerup", (event) => {
    if (!start) return;
    const from = start, to = at(event);
    start = null;
    if (apart(from, to) * scale() < 5) forget();
    else hand(choose(from, to));
  });
  svg.addEventListener("pointercancel", () => { start = null; });

  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { forget(); look(null); return; }
    const step = STEPS[event.key];
    if (!step || !points.length) return;
    event.preventDefault();
    const from = here;
    if (event.shiftKey) anchor ??= from;
    // ahead, and rather straight ahead than near
    const far = (point) => {
      const x = point.x - from.x, y = point.y - from.y, ahead = x * step[0] + y * step[1];
      return ahead > 0 ? ahead + 3 * Math.abs(x * step[1] + y * step[0]) : Infinity;
    };
    const next = from ? points.reduce((best, point) => (far(point) < far(best) ? point : best), from) : points[0];
    look(next);
    if (event.shiftKey && anchor) hand(choose(anchor, next));
    else says.textContent = browser.words(next.one);
  });
  svg.addEventListener("blur", () => look(null));

  // as it is seen, legend and all
  function picture() {
    const SCALE = 2, EDGE = 8;
    const legend = box.querySelector(".legend"), above = legend.getBoundingClientRect(), drawn = svg.getBoundingClientRect();
    const frame = { x: drawn.x - EDGE, y: above.y - EDGE, width: drawn.width + 2 * EDGE, height: drawn.bottom - above.y + 2 * EDGE };
    const canvas = Object.assign(document.createElement("canvas"), { width: SCALE * frame.width, height: SCALE * frame.height });
    const paper = canvas.getContext("2d");
    paper.scale(SCALE, SCALE);
    paper.fillStyle = getComputedStyle(document.body).backgroundColor;
    paper.fillRect(0, 0, frame.width, frame.height);
    paper.translate(-frame.x, -frame.y);
    function shape(path, x, y, size) {
      paper.save();
      paper.translate(x, y);
      paper.scale(size, size);
      paper.fillStyle = path.getAttribute("fill");
      paper.fill(new Path2D(path.getAttribute("d")));
      paper.restore();
    }
    for (const item of legend.querySelectorAll("button")) {
      const { x, y, width, height } = item.querySelector("svg").getBoundingClientRect();
      shape(item.querySelector("path"), x + width / 2, y + height / 2, width / 20);
      for (const words of item.querySelectorAll("bdi, span")) {
        const look = getComputedStyle(words), at = words.getBoundingClientRect();
        Object.assign(paper, { font: look.font, fillStyle: look.color, textBaseline: "middle" });
        paper.fillText(words.textContent, at.x, at.y + at.height / 2, at.width);
      }
    }
    const { borderTopColor } = getComputedStyle(svg);
    paper.strokeStyle = borderTopColor;
    paper.strokeRect(drawn.x, drawn.y, drawn.width, drawn.height);
    const size = Number(getComputedStyle(svg).getPropertyValue("--grow")) * scale();
    for (const { group, x, y } of points) {
      const ring = group.querySelector("circle"), spot = [drawn.x + x * scale(), drawn.y + y * scale()];
      paper.globalAlpha = Number(getComputedStyle(group).opacity);
      if (ring) {
        Object.assign(paper, { strokeStyle: getComputedStyle(ring).stroke, lineWidth: 3 * size });
        paper.beginPath();
        paper.arc(...spot, 11 * size, 0, 2 * Math.PI);
        paper.stroke();
      }
      shape(group.querySelector("path"), ...spot, size);
    }
    return canvas;
  }

  // Places from 0 to 1, as map.csv has them.
  function table() {
    const margin = Number(svg.dataset.margin), unit = svg.viewBox.baseVal.width - 2 * margin;
    const rows = points.map(({ x, y, one }) => [one.path, browser.name(one.label), browser.name(one.predicted), one.confidence,
      ...[x, y].map((place) => ((place - margin) / unit).toFixed(4))]);
    const made = document.createElement("table");
    for (const cells of [["path", "label", "predicted", "confidence", "x", "y"], ...rows]) {
      const row = made.insertRow();
      for (const cell of cells) row.insertCell().textContent = cell;
    }
    return made;
  }
  if (points.length) field.after(saveButtons(box.dataset.map, picture, table));

  show.addEventListener("click", () => browser.show());
  clear.addEventListener("click", forget);
  touch.addEventListener("click", () => {
    const on = touch.getAttribute("aria-pressed") !== "true";
    touch.setAttribute("aria-pressed", String(on));
    box.classList.toggle("touch", on);
  });
  for (const button of box.querySelectorAll("[data-class]")) {
    button.disabled = false;
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      for (const other of box.querySelectorAll("[data-class]")) other.setAttribute("aria-pressed", String(on && other === button));
      for (const { group, one } of points) group.classList.toggle("dim", on && one.label !== Number(button.dataset.class));
    });
  }
}
