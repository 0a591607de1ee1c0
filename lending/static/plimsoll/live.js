/*
 * The live line: numbered events, each taken once and in order. A line that breaks is opened anew with the last number
 * in its address, and a number that does not follow on is asked for again. A crash says thousands of things in a second:
 * they are taken in handfuls, and what must be read again is read once for all of them.
 */
(function () {
  "use strict";

  const root = document.querySelector("[data-stream]");
  if (!root) return;
  const stays = "keep" in root.dataset;
  const name = root.dataset.event;
  const feed = document.getElementById("feed");
  const MOST = 100;
  const HANDFUL_MS = 250;
  const REFRESH_MS = 1500;
  const RETRY_MS = 1500;
  // What changes nothing but the call's own row; everything else about calls may change who stands where.
  const ROW = new Set(["noted", "spoken", "claimed", "taken_over", "handed_back", "acknowledged", "notified", "progress"]);
  const NEW = new Set(["issued", "reopened"]);

  let last = root.dataset.after === undefined ? null : Number(root.dataset.after);
  let source = null;
  let again = null;
  let waiting = [];
  let handful = null;

  function open() {
    clearTimeout(again);
    close();
    const address = new URL(root.dataset.stream, location.href);
    address.searchParams.set("after", last === null ? "newest" : last);
    source = new EventSource(address);
    source.addEventListener("open", function () {
      say("up", "Live");
    });
    source.addEventListener("from", function (event) {
      if (last !== null) return;
      last = Number(event.data);
      follow(); // for what happened while this page was on its way
    });
    source.addEventListener("error", function () {
      say("down", "Reconnecting; nothing is missed");
      close();
      again = setTimeout(open, RETRY_MS);
    });
    source.addEventListener(name, heard);
  }

  function close() {
    if (source) source.close();
    source = null;
  }

  function heard(event) {
    const seq = Number(event.lastEventId);
    if (last !== null && seq <= last) return;
    if (last !== null && seq > last + 1) {
      open();
      return;
    }
    last = seq;
    waiting.push(event.data);
    if (handful === null) handful = setTimeout(take, HANDFUL_MS);
  }

  function take() {
    handful = null;
    const holder = document.createElement("template");
    holder.innerHTML = waiting.join("");
    waiting = [];
    const lines = Array.from(holder.content.children);
    const calls = new Map();
    let arrived = 0;
    for (const line of lines) {
      const kind = line.dataset.kind.replace(/^call_/, "");
      const call = line.dataset.call;
      if (call) calls.set(call, (calls.get(call) ?? true) && ROW.has(kind));
      if (call && NEW.has(kind)) arrived += 1;
    }
    if (feed) {
      const newest = lines.slice(-MOST).reverse();
      feed.prepend(...newest);
      while (feed.children.length > MOST) feed.lastElementChild.remove();
    }
    if (arrived) announce(arrived);
    refresh(calls);
  }

  /* what must be read again: single rows where that is enough, the whole queue at most once in a while */
  let due = null;
  let took = 0;

  function refresh(calls) {
    const queue = document.getElementById("queue");
    if (queue) {
      const rows = [];
      for (const [call, alone] of calls) {
        const row = queue.querySelector('tr[data-call="' + CSS.escape(call) + '"]');
        if (!alone) return refreshAll();
        if (row) rows.push(row);
      }
      if (rows.length > 5) return refreshAll();
      for (const row of rows) htmx.trigger(row, "news");
    }
    for (const part of document.querySelectorAll("[data-follows]")) {
      if (calls.has(part.dataset.follows)) follow();
    }
  }

  function refreshAll() {
    if (due !== null) return;
    due = setTimeout(function () {
      due = null;
      htmx.trigger("#queue", "news");
    }, Math.max(REFRESH_MS, 3 * took));
  }

  let following = null;

  function follow() {
    if (following !== null) return;
    following = setTimeout(function () {
      following = null;
      for (const part of document.querySelectorAll("[data-follows]")) htmx.trigger(part, "news");
    }, HANDFUL_MS);
  }

  document.addEventListener("htmx:beforeRequest", function (event) {
    if (event.target.id === "queue") event.target.dataset.asked = performance.now();
  });
  document.addEventListener("htmx:afterSettle", function (event) {
    if (event.target.id === "queue") took = performance.now() - Number(event.target.dataset.asked);
  });

  function say(state, words) {
    const line = document.getElementById("line");
    if (!line) return;
    line.className = "line " + state;
    if (line.textContent !== words) line.textContent = words;
  }

  /* a new call is heard, and counted in the title until somebody does something on the page */
  const title = document.title;
  let unseen = 0;

  function announce(count) {
    unseen += count;
    document.title = "(" + unseen + ") " + title;
    if (chosen("sound", false)) ring();
  }

  function seen() {
    if (!unseen || document.hidden) return;
    unseen = 0;
    document.title = title;
  }

  let audio = null;

  function ring() {
    if (!audio || audio.state !== "running") return;
    for (const [at, pitch] of [[0, 660], [0.18, 880]]) {
      const tone = audio.createOscillator();
      const volume = audio.createGain();
      const start = audio.currentTime + at;
      tone.frequency.value = pitch;
      volume.gain.setValueAtTime(0.0001, start);
      volume.gain.exponentialRampToValueAtTime(0.25, start + 0.02);
      volume.gain.exponentialRampToValueAtTime(0.0001, start + 0.35);
      tone.connect(volume).connect(audio.destination);
      tone.start(start);
      tone.stop(start + 0.4);
    }
  }

  /* a browser lets a page be heard only once somebody has touched it */
  function wake() {
    if (!chosen("sound", false)) return;
    if (!audio) audio = new AudioContext();
    if (audio.state === "suspended") audio.resume();
  }

  for (const gesture of ["pointerdown", "keydown"]) {
    document.addEventListener(gesture, function () {
      seen();
      wake();
    });
  }

  /* switches, remembered by the browser */
  function chosen(what, otherwise) {
    const kept = localStorage.getItem("plimsoll-" + what);
    return kept === null ? otherwise : kept === "on";
  }

  for (const button of document.querySelectorAll("[data-switch]")) {
    const what = button.dataset.switch;
    const show = function () {
      const on = chosen(what, what === "keys");
      button.setAttribute("aria-checked", on);
      button.querySelector("span").textContent = on ? "on" : "off";
    };
    button.hidden = false;
    show();
    button.addEventListener("click", function () {
      localStorage.setItem("plimsoll-" + what, chosen(what, what === "keys") ? "off" : "on");
      show();
      wake();
      if (what === "sound" && chosen("sound", false)) setTimeout(ring, 100);
    });
  }

  /*
   * Keys of the queue: the focus goes from row to row, Enter opens as it always does. The rows are drawn anew all the
   * time: the same call stays selected, and once it has left the page the one that stands in its place.
   */
  const queue = document.getElementById("queue");
  let selected = null;
  let place = -1;

  function rows() {
    return Array.from(queue.querySelectorAll("tr[data-call]"));
  }

  function select(row, quietly) {
    row.querySelector("th a").focus({ preventScroll: quietly });
  }

  function tell(words) {
    document.getElementById("said").textContent = words;
  }

  function keep() {
    if (selected === null) return;
    const found = rows();
    const at = found.findIndex((row) => row.dataset.call === selected);
    if (at >= 0) {
      place = at;
      if (!found[at].contains(document.activeElement)) select(found[at], true);
    } else if (found.length) {
      select(found[Math.min(place, found.length - 1)], true);
      tell("The selected call has left this page: the one in its place is selected.");
    } else {
      selected = null;
      tell("The selected call has left this page, and no other is on it.");
    }
  }

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !chosen("keys", true)) return;
    if (event.target.matches("input, select, textarea")) return;
    const found = rows();
    if (event.key === "j" || event.key === "k") {
      const next = Math.min(Math.max(place + (event.key === "j" ? 1 : -1), 0), found.length - 1);
      tell(found.length ? "" : "No call is on this page.");
      if (found.length) select(found[next], false);
      event.preventDefault();
    } else if (event.key === "c" || (event.key === "Enter" && event.target === document.body)) {
      const row = found.find((one) => one.dataset.call === selected);
      if (!row) tell("No call is selected: j or k selects one.");
      else if (event.key === "Enter") row.querySelector("th a").click();
      else if (row.querySelector("form button")) row.querySelector("form button").click();
      else tell("Taken already, by " + row.querySelector(".taken").textContent.trim() + ".");
    }
  }

  if (queue) {
    document.addEventListener("focusin", function (event) {
      const row = event.target.closest("#queue tr[data-call]");
      selected = row ? row.dataset.call : null;
      if (row) place = rows().indexOf(row);
    });
    document.addEventListener("pointerdown", function () {
      selected = null; // a click on nothing lets go; one on a row's link selects it again
    });
    document.addEventListener("keydown", pressed);
    new MutationObserver(keep).observe(queue, { childList: true, subtree: true });
  }

  /* a page that nobody looks at lets go of its line, but for the queue: a browser has six of them for all its tabs */
  document.addEventListener("visibilitychange", function () {
    seen();
    if (stays) return;
    if (document.hidden) {
      clearTimeout(again);
      close();
    } else if (!source) {
      open();
    }
  });
  open();
})();
