/* Day or night as the reader chose it, before the page is drawn; without a choice the system decides. */
(function () {
  "use strict";

  const KEY = "plimsoll-theme";
  const root = document.documentElement;
  const chosen = localStorage.getItem(KEY);
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;

  document.addEventListener("DOMContentLoaded", function () {
    for (const button of document.querySelectorAll("[data-theme-switch]")) {
      button.hidden = false;
      button.addEventListener("click", function () {
        const dark = root.dataset.theme
          ? root.dataset.theme === "dark"
          : matchMedia("(prefers-color-scheme: dark)").matches;
        root.dataset.theme = dark ? "light" : "dark";
        localStorage.setItem(KEY, root.dataset.theme);
        document.dispatchEvent(new Event("plimsoll:theme"));
      });
    }
  });
})();
