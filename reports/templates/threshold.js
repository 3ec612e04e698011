"use strict";
// One slider: how many images are answered at a threshold on confidence, how many answers are right, class by class.
for (const box of document.querySelectorAll("[data-threshold]")) {
  const data = JSON.parse(document.getElementById(box.dataset.threshold).textContent);
  const slider = box.querySelector("input");
  const part = (name) => box.querySelector(`[data-${name}]`);
  const rows = [...box.querySelectorAll("tbody tr")].map((row) => [...row.querySelectorAll("td bdi")]);
  const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}%`;
  const count = (number) => number.toLocaleString("en");

  function show() {
    const step = Number(slider.value);
    const threshold = data.thresholds[step];
    const [answered, right, [low, high]] = [data.answered[step], data.right[step], data.intervals[step]];
    slider.setAttribute("aria-valuetext", `threshold ${threshold}`);
    part("value").textContent = threshold;
    part("share").textContent = percent(answered / data.n);
    part("answered").textContent = `${count(answered)} of ${count(data.n)} images; ${count(data.n - answered)} unsure`;
    part("accuracy").textContent = answered ? percent(right / answered) : "–";
    part("interval").textContent = answered ? `95% interval ${percent(low)} to ${percent(high)}` : "nothing is answered";
    part("errors").textContent = ((100 * (answered - right)) / data.n).toFixed(1);
    part("wrong").textContent = `${count(answered - right)} wrong answers among ${count(data.n)} images`;
    part("command").textContent = data.command + threshold;
    data.classes.forEach(([answeredOf, rightOf], place) => {
      const [images, given, unsure, wrong, accuracy] = rows[place];
      const whole = Number(images.textContent.replaceAll(",", ""));
      given.textContent = count(answeredOf[step]);
      unsure.textContent = count(whole - answeredOf[step]);
      wrong.textContent = count(answeredOf[step] - rightOf[step]);
      accuracy.textContent = answeredOf[step] ? percent(rightOf[step] / answeredOf[step], 0) : "–";
    });
  }

  box.querySelector("[data-live]").hidden = false;
  slider.addEventListener("input", show);
  box.querySelector("[data-own]")?.addEventListener("click", () => {
    slider.value = data.own;
    slider.dispatchEvent(new Event("input"));
    slider.dispatchEvent(new Event("change"));
  });
  slider.addEventListener("change", () => box.querySelector("table").dispatchEvent(new Event("changed")));
  show();
}
