"use strict";
// Parallel coordinates: a range on each axis, between two handles that are dragged or moved by the arrow keys; trials
// outside of a range fade.
for (const frame of document.querySelectorAll("[data-parallel]")) {
  const box = frame.querySelector(".figure");
  const axes = JSON.parse(document.getElementById(frame.dataset.parallel).textContent);
  const said = frame.parentElement.querySelector("[data-ranges]");
  const reset = frame.parentElement.querySelector("[data-reset]");
  const FADED = 0.07;
  const STEP = 0.05;
  const ends = axes.map(() => [0, 1]);

  const short = (value) => String(Number(value.toPrecision(3)));
  function shown(axis, height) {
    const { low, high, log, choices } = axes[axis];
    if (choices) return choices[Math.round(height * (choices.length - 1))];
    return short(log ? Math.exp(Math.log(low) + height * (Math.log(high) - Math.log(low))) : low + height * (high - low));
  }

  const heightAt = (height) => box.getBoundingClientRect().y + box._fullLayout.yaxis._offset + box._fullLayout.yaxis.l2p(height);

  const handles = axes.flatMap((axis, place) => [0, 1].map((end) => {
    const handle = Object.assign(document.createElement("div"), { className: `handle ${end ? "to" : "from"}`, role: "slider", tabIndex: 0 });
    Object.assign(handle, { ariaLabel: `${axis.name}, ${end ? "at most" : "at least"}`, ariaOrientation: "vertical", ariaValueMin: "0", ariaValueMax: "100" });
    let grabbed = 0; // pixels from its value to where it was taken hold of
    const move = (height) => {
      const other = ends[place][1 - end];
      ends[place][end] = Math.min(Math.max(height, end ? other : 0), end ? 1 : other);
      apply();
    };
    handle.addEventListener("keydown", (event) => {
      const step = axis.choices ? 1 / Math.max(1, axis.choices.length - 1) : STEP;
      const to = { ArrowUp: ends[place][end] + step, ArrowDown: ends[place][end] - step, Home: 0, End: 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      move(to);
    });
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      grabbed = event.clientY - heightAt(ends[place][end]);
      event.preventDefault();
      handle.focus();
    });
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      const scale = box._fullLayout.yaxis;
      move(scale.p2l(event.clientY - grabbed - box.getBoundingClientRect().y - scale._offset));
    });
    frame.append(handle);
    return { handle, place, end };
  }));

  const inside = (heights) => ends.every(([low, high], axis) =>
    (low <= 0 && high >= 1) || (heights[axis] !== null && heights[axis] >= low - 1e-9 && heights[axis] <= high + 1e-9));
  const wanted = () => box.data.map((trial) => (inside(trial.y) ? 1 : FADED));

  function place() {
    const { xaxis, yaxis } = box._fullLayout;
    for (const { handle, place: axis, end } of handles) {
      handle.style.left = `${xaxis._offset + xaxis.l2p(axis)}px`;
      handle.style.top = `${yaxis._offset + yaxis.l2p(ends[axis][end])}px`;
      handle.ariaValueNow = String(Math.round(100 * ends[axis][end]));
      handle.ariaValueText = shown(axis, ends[axis][end]);
    }
  }

  function apply() {
    place();
    const opacity = wanted();
    const found = opacity.filter((one) => one === 1).length;
    const whole = ends.every(([low, high]) => low <= 0 && high >= 1);
    said.textContent = whole ? "" : `${found} of ${opacity.length} trials lie within the ranges.`;
    reset.hidden = whole;
    Plotly.restyle(box, { opacity, hoverinfo: opacity.map((one) => (one === 1 ? "all" : "skip")) });
  }

  reset.addEventListener("click", () => {
    ends.forEach((range) => range.splice(0, 2, 0, 1));
    apply();
    handles[0].handle.focus();
  });

  function begin() {
    place();
    box.on("plotly_afterplot", () => {
      place();
      // the colours of the page changed, and all was drawn anew
      if (wanted().some((opacity, trial) => opacity !== (box.data[trial].opacity ?? 1))) apply();
    });
  }
  const drawn = () => {
    if (box._fullLayout) begin();
    else setTimeout(drawn, 50);
  };
  drawn();
}
