/* Time on the page: countdowns and ages run on the platform's clock, and every instant also shows in local time. */
(function () {
  "use strict";

  let loadedAt = performance.now();
  const platform = document.querySelector('meta[name="platform-time"]');
  if (!platform) return;
  let speed = Number(platform.dataset.speed);
  let start = Date.parse(platform.content);
  let stop = platform.dataset.stop ? Date.parse(platform.dataset.stop) : Infinity;

  function now() {
    return Math.min(start + (performance.now() - loadedAt) * speed, stop);
  }

  function two(number) {
    return String(number).padStart(2, "0");
  }

  function left(milliseconds) {
    const total = Math.max(Math.floor(milliseconds / 1000), 0);
    return Math.floor(total / 3600) + ":" + two(Math.floor((total % 3600) / 60)) + ":" + two(total % 60);
  }

  function span(milliseconds) {
    const total = Math.max(Math.floor(milliseconds / 1000), 0);
    if (total < 60) return total + " s";
    if (total < 3600) return Math.floor(total / 60) + " min";
    if (total < 86400) return Math.floor(total / 3600) + " h " + two(Math.floor((total % 3600) / 60)) + " min";
    return Math.floor(total / 86400) + " d " + Math.floor((total % 86400) / 3600) + " h";
  }

  function tick() {
    const at = now();
    for (const element of document.querySelectorAll("[data-due]")) {
      const rest = Date.parse(element.dateTime) - at;
      element.textContent = left(rest);
      element.classList.toggle("late", rest <= 0);
    }
    for (const element of document.querySelectorAll("[data-age]")) {
      element.textContent = span(at - Date.parse(element.dateTime)) + " ago";
    }
    for (const element of document.querySelectorAll("[data-clock]")) {
      element.textContent = new Date(at).toISOString().slice(0, 19).replace("T", " ") + " UTC";
    }
  }

  function sayLocal(within) {
    for (const element of within.querySelectorAll("time[data-local]:not([title])")) {
      const local = new Date(element.dateTime);
      element.title = local.toLocaleString() + " where you are";
      if (element.dataset.local === "beside" && local.getTimezoneOffset() !== 0) {
        element.textContent += " (" + local.toLocaleString() + " where you are)";
      }
    }
  }

  /* The admin's lines scroll sideways where they are wider than the window: by keyboard too. */
  for (const lines of document.querySelectorAll(".formset-wrapper")) lines.tabIndex = 0;

  /* A part that can not be refreshed says so beside itself, and what it shows is not taken for new. */
  function sayFailed(event) {
    const part = event.detail.elt;
    if (part.dataset.failed) return;
    part.dataset.failed = "true";
    const words = document.createElement("p");
    words.className = "problem";
    words.setAttribute("role", "alert");
    words.textContent = "This part could not be refreshed and may be out of date. It is tried again by itself.";
    part.before(words);
  }

  function sayRefreshed(event) {
    const part = event.detail.elt;
    if (!part.dataset.failed || !event.detail.successful) return;
    delete part.dataset.failed;
    if (part.previousElementSibling && part.previousElementSibling.matches(".problem")) part.previousElementSibling.remove();
  }

  /* A part that refreshes itself waits while somebody is in it: focus and what was opened would be lost. */
  function holdStill(event) {
    const part = event.detail.target;
    if (!part.hasAttribute("data-live")) return;
    if (part.contains(document.activeElement) || part.querySelector("details[open]")) event.detail.shouldSwap = false;
  }

  /* A slider says what it stands at; without a script the answer below it does. */
  function sayValues() {
    for (const slider of document.querySelectorAll("input[type=range][data-unit]")) {
      const said = document.createElement("output");
      said.htmlFor = slider.id;
      const say = function () {
        said.textContent = (slider.value > 0 ? "+" : "") + slider.value + "\u00a0" + slider.dataset.unit;
      };
      slider.after(said);
      slider.addEventListener("input", say);
      say();
    }
  }

  /* Platform time may change its pace under an open page, as it does in the demo. */
  document.addEventListener("plimsoll:clock", function (event) {
    loadedAt = performance.now();
    speed = event.detail.speed;
    start = Date.parse(event.detail.now);
    stop = event.detail.stop ? Date.parse(event.detail.stop) : Infinity;
    tick();
  });

  document.addEventListener("DOMContentLoaded", function () {
    // Unfold's script looks for its own path field beside every file input, and breaks where there is none.
    for (const input of document.querySelectorAll(".field input[type=file]")) {
      input.hasChangeListener = true;
    }
    sayValues();
    tick();
    sayLocal(document);
    setInterval(tick, 1000);
    for (const failure of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
      document.body.addEventListener(failure, sayFailed);
    }
    document.body.addEventListener("htmx:beforeSwap", holdStill);
    document.body.addEventListener("htmx:afterRequest", sayRefreshed);
    document.body.addEventListener("htmx:afterSettle", function () {
      tick();
      sayLocal(document);
    });
  });
})();
