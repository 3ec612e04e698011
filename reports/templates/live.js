"use strict";
// A page that is drawn anew meanwhile: reloads itself, but not while one filters, looks at an image or wants it still.
(() => {
  const EVERY = 4000; // milliseconds
  const LATEST = 15 * 60 * 1000; // after so long nothing draws it any more: the study was killed
  const box = document.querySelector("[data-live]");
  const still = box.querySelector("input");
  if (Date.now() - Date.parse(box.dataset.live) > LATEST) {
    box.querySelector("[data-says]").textContent = "The study ended without drawing this page: `transferkit report` draws it.";
    return;
  }
  still.parentElement.hidden = false;
  const busy = () => still.checked || document.querySelector("dialog[open], .handle:focus") ||
    [...document.querySelectorAll("input[type=search]")].some((field) => field.value) ||
    [...document.querySelectorAll("[data-reset]")].some((button) => !button.hidden);
  setInterval(() => {
    if (!busy()) location.reload();
  }, EVERY);
})();
