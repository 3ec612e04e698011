"use strict";
// Light or dark: as the system, until one is chosen on any page; stands in the head, so that no page flashes.
(() => {
  const NAME = "transferkit-theme";
  const SYSTEM = "(prefers-color-scheme: dark)";
  const rules = [...document.querySelector("style").sheet.cssRules];
  const dark = rules.find((rule) => rule.media?.mediaText.includes("prefers-color-scheme"));
  let chosen = "";
  try { // a browser may forbid storage
    chosen = localStorage.getItem(NAME) ?? "";
  } catch { /* as the system */ }

  function show() {
    dark.media.mediaText = { light: "not all", dark: "all" }[chosen] ?? SYSTEM;
    document.documentElement.style.colorScheme = chosen;
    dispatchEvent(new Event("theme"));
  }

  show();
  addEventListener("DOMContentLoaded", () => {
    const field = document.querySelector("[data-theme]");
    field.value = chosen;
    field.closest("label").hidden = false;
    field.addEventListener("change", () => {
      chosen = field.value;
      try {
        if (chosen) localStorage.setItem(NAME, chosen);
        else localStorage.removeItem(NAME);
      } catch { /* for this page alone */ }
      show();
    });
  });
})();
