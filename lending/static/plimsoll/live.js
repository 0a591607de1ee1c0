/*
 * The live line of the console. A browser repeats Last-Event-ID by itself while it reconnects, but a line that was
 * refused is opened anew by the extension, without it: so the last number travels in the address too.
 */
(function () {
  "use strict";

  let last = null;

  htmx.createEventSource = function (url) {
    const address = new URL(url, location.href);
    if (last !== null) address.searchParams.set("after", last);
    const source = new EventSource(address, { withCredentials: true });
    source.addEventListener("console", function (event) {
      last = event.lastEventId;
    });
    source.addEventListener("open", function () {
      say("up", "Live");
    });
    source.addEventListener("error", function () {
      say("down", "Reconnecting; nothing is missed");
    });
    return source;
  };

  function say(state, words) {
    const line = document.getElementById("line");
    if (!line) return;
    line.className = "line " + state;
    line.textContent = words;
  }

  document.addEventListener("htmx:sseMessage", function (event) {
    if (event.target.id !== "feed") return;
    while (event.target.children.length > 100) event.target.lastElementChild.remove();
  });
})();
