"use strict";
// The page: images come in by drop, paste, file chooser and camera; each becomes a card with the answer of the model.
(() => {
  const SHOWN = 3, MOST = 60; // classes of a card; cards
  const HEAT = [[13, 8, 135], [126, 3, 168], [204, 71, 120], [248, 149, 64], [240, 249, 33]]; // plasma
  const rules = JSON.parse(document.getElementById("rules").textContent);
  const find = (id) => document.getElementById(id);
  const slider = find("threshold"), answers = find("answers"), status = find("status");
  const percent = (share) => `${(100 * share).toFixed(1)}%`;
  const make = (name, properties = {}, ...inside) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...inside);
    return made;
  };
  const cards = new Set();
  const ready = model.load(rules);
  let threshold = rules.threshold; // as exported, until the slider moves

  // === An image's card ===

  function card(name, square, { probabilities, evidence, strangeness }) {
    const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a] || a - b);
    const top = order.slice(0, SHOWN);
    const canvas = make("canvas", { width: rules.side, height: rules.side });
    canvas.setAttribute("role", "img");
    const answer = make("p", { className: "answer" }), why = make("p", { className: "why" });
    const rows = top.map((place) => {
      const bar = make("i");
      bar.style.width = percent(probabilities[place]);
      const button = make("button", { type: "button", title: "Show where the evidence for it lies" },
        make("bdi", { textContent: rules.classes[place] }),
        make("span", { className: "share", textContent: percent(probabilities[place]) }),
        make("span", { className: "bar" }, bar));
      button.addEventListener("click", () => show(button.getAttribute("aria-pressed") === "true" ? -1 : place));
      return button;
    });
    const at = (place) => evidence.filter((_, k) => k % rules.classes.length === place);
    const maps = new Map(top.map((place) => [place, at(place)]));
    const strongest = Math.max(0, ...[...maps.values()].flatMap((map) => [...map])); // one scale, so that they compare

    function show(place) {
      rows.forEach((button, k) => button.setAttribute("aria-pressed", String(top[k] === place)));
      const lit = place < 0 ? "" : `, with the evidence for ${rules.classes[place]}`;
      canvas.setAttribute("aria-label", `${name}${lit}`);
      paint(canvas, square, maps.get(place), strongest);
    }
    function judge() {
      const confidence = probabilities[top[0]], unsure = confidence < threshold;
      const unlike = rules.beyond !== null && strangeness > rules.beyond;
      answer.classList.toggle("unsure", unsure || unlike);
      answer.textContent = unlike ? "unlike anything it was trained on" : unsure ? "unsure" : rules.classes[top[0]];
      why.textContent = unlike
        ? `its strangeness is ${strangeness.toFixed(2)}, beyond ${rules.beyond.toFixed(2)}; 1 is usual`
        : unsure
        ? `${percent(confidence)} for ${rules.classes[top[0]]} is below the threshold of ${percent(threshold)}`
        : `confidence ${percent(confidence)}`;
    }
    show(top[0]);
    judge();
    cards.add(judge);
    const item = make("li", {}, canvas,
      make("div", {}, make("h3", {}, make("bdi", { textContent: name })), answer, why,
        make("ol", { className: "top" }, ...rows.map((button) => make("li", {}, button)))));
    item.judge = judge;
    return item;
  }

  // The square, under the evidence in colours that are seen on black and on white.
  function paint(canvas, square, map, strongest) {
    const side = rules.side, [rows, columns] = rules.grid;
    const image = new ImageData(side, side);
    for (let y = 0, to = 0; y < side; y++) {
      const v = Math.min(rows - 1, Math.max(0, ((y + 0.5) * rows) / side - 0.5)), y0 = Math.floor(v);
      const y1 = Math.min(rows - 1, y0 + 1);
      for (let x = 0; x < side; x++, to += 4) {
        let share = 0;
        if (map && strongest > 0) {
          const u = Math.min(columns - 1, Math.max(0, ((x + 0.5) * columns) / side - 0.5)), x0 = Math.floor(u);
          const x1 = Math.min(columns - 1, x0 + 1);
          const value = (row, column) => Math.max(0, map[row * columns + column]);
          const upper = value(y0, x0) * (1 - u + x0) + value(y0, x1) * (u - x0);
          const lower = value(y1, x0) * (1 - u + x0) + value(y1, x1) * (u - x0);
          share = Math.min(1, (upper * (1 - v + y0) + lower * (v - y0)) / strongest);
        }
        const step = Math.min(HEAT.length - 2, Math.floor(share * (HEAT.length - 1)));
        const part = share * (HEAT.length - 1) - step, over = 0.65 * Math.min(1, 2.5 * share);
        for (let k = 0; k < 3; k++) {
          const heat = HEAT[step][k] * (1 - part) + HEAT[step + 1][k] * part;
          image.data[to + k] = square[(to / 4) * 3 + k] * (1 - over) + heat * over;
        }
        image.data[to + 3] = 255;
      }
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  function put(item) {
    answers.prepend(item);
    while (answers.children.length > MOST) {
      cards.delete(answers.lastChild.judge);
      answers.lastChild.remove();
    }
  }

  // === From files to cards, one after the other ===

  let queue = ready.then(() => { status.textContent = "Ready."; document.documentElement.dataset.ready = ""; }, (error) => {
    status.textContent = `The model cannot run in this browser: ${error.message}. A current Chrome, Edge, Firefox or Safari can.`;
  });

  function add(files, given) {
    for (const file of files) {
      queue = queue.then(async () => {
        const name = given || file.name || "image";
        status.textContent = `Looking at ${name}…`;
        await new Promise((resume) => { setTimeout(resume); }); // so that this is seen
        try {
          await ready;
          const square = pixels.fitSquare(await pixels.decode(file, rules), rules);
          const item = card(name, square, model.run(square));
          put(item);
          status.textContent = `${name}: ${item.querySelector(".answer").textContent}`;
        } catch (error) {
          const why = error.name === "InvalidStateError" || error.name === "EncodingError" ? "it is no image that this browser can read" : error.message;
          put(make("li", { className: "broken" }, make("strong", {}, make("bdi", { textContent: name })), ` cannot be looked at: ${why}.`));
          status.textContent = `${name} cannot be looked at: ${why}.`;
        }
      });
    }
  }

  // === The ways in ===

  const place = find("place");
  for (const id of ["files", "shot"]) {
    find(id).addEventListener("change", (event) => { add([...event.target.files]); event.target.value = ""; });
  }
  find("choose").addEventListener("click", () => find("files").click());
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => { event.preventDefault(); place.classList.add("over"); });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) place.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    place.classList.remove("over");
    add([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) add(files, files.length === 1 ? "pasted image" : "");
    else status.textContent = "What was pasted is no image.";
  });

  const viewfinder = find("viewfinder"), video = find("video");
  find("camera").addEventListener("click", async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch { // no camera that a page from disk may use: telephones open their own
      find("shot").click();
      return;
    }
    viewfinder.showModal();
    video.play().catch(() => {}); // closed before it began
  });
  find("take").addEventListener("click", () => {
    const still = make("canvas", { width: video.videoWidth, height: video.videoHeight });
    still.getContext("2d").drawImage(video, 0, 0);
    still.toBlob((blob) => { if (blob) add([blob], "camera"); viewfinder.close(); });
  });
  find("close").addEventListener("click", () => viewfinder.close());
  viewfinder.addEventListener("close", () => {
    for (const track of video.srcObject?.getTracks() || []) track.stop();
    video.srcObject = null;
  });

  function moved() {
    const told = threshold.toFixed(Number.isInteger(Math.round(1e6 * threshold) / 1e4) ? 2 : 3);
    find("threshold-value").textContent = told;
    slider.setAttribute("aria-valuetext", `threshold ${told}`);
    for (const judge of cards) judge();
  }
  slider.value = String(100 * threshold);
  slider.addEventListener("input", () => { threshold = Number(slider.value) / 100; moved(); });
  moved();

  // === What `transferkit export` asks before it hands the page over ===

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  function base64(given) {
    let letters = "";
    for (let k = 0; k < given.length; k += 8192) letters += String.fromCharCode(...given.subarray(k, k + 8192));
    return btoa(letters);
  }
  globalThis.check = {
    ready,
    answer: (text, count) => model.answers(bytes(text), count),
    async file(text) {
      const square = pixels.fitSquare(await pixels.decode(new Blob([bytes(text)]), rules), rules);
      return { pixels: base64(square), probabilities: [...model.probabilities(square, 1)] };
    },
    times(text, count, { warm, most, least, seconds }) {
      const given = bytes(text), found = [];
      for (let k = 0; k < warm; k++) model.probabilities(given, count);
      for (let sum = 0; found.length < most && (found.length < least || sum < 1000 * seconds);) {
        const start = performance.now();
        model.probabilities(given, count);
        found.push(performance.now() - start);
        sum += found.at(-1);
      }
      return found;
    },
  };
})();
