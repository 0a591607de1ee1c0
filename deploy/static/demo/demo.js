/* The demo's controls, kept fresh while they are open; and every open page told when platform time changes its pace. */
(function () {
  "use strict";

  const place = document.querySelector(".simulated");
  if (!place) return;
  const CLOCK_MS = 4000;
  const STRIP_MS = 2000;
  const OPEN = "demo-controls-open";

  async function tellTheTime() {
    try {
      const answer = await fetch(place.dataset.now, { headers: { Accept: "application/json" } });
      if (!answer.ok) return;
      const told = await answer.json();
      document.dispatchEvent(new CustomEvent("plimsoll:clock", { detail: told }));
      const pace = told.jump_to ? "on its way to " + told.jump_to.slice(11, 16) : told.speed ? told.speed + " ×" : "paused";
      for (const badge of place.querySelectorAll("[data-speed-badge]")) badge.textContent = pace;
      for (const words of place.querySelectorAll("[data-speed-words]")) {
        words.textContent = told.jump_to ? "it hurries ahead" : told.speed ? told.speed + " times as fast as yours" : "it stands still";
      }
    } catch {
      /* the next one will come through */
    }
  }

  const controls = place.querySelector("[data-strip]");
  const part = controls && controls.querySelector(".simulated-part");

  async function refresh() {
    if (!controls.open || part.contains(document.activeElement)) return;
    try {
      const here = encodeURIComponent(location.pathname + location.search);
      const answer = await fetch(controls.dataset.strip + "?next=" + here);
      const text = await answer.text();
      if (answer.ok && controls.open && !part.contains(document.activeElement)) part.innerHTML = text;
    } catch {
      /* the web process may be starting again */
    }
  }

  setInterval(tellTheTime, CLOCK_MS);
  if (controls) {
    if (sessionStorage.getItem(OPEN)) controls.open = true;
    controls.addEventListener("toggle", function () {
      if (controls.open) sessionStorage.setItem(OPEN, "yes");
      else sessionStorage.removeItem(OPEN);
      refresh();
    });
    refresh();
    setInterval(refresh, STRIP_MS);
  }
})();
