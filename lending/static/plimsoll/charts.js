/*
 * Histories drawn by lightweight-charts: LTV between the levels of its ladder with the calls on it, and below it the
 * price of each asset. Data comes as JSON from data-history; colours from the stylesheet, by day and by night. The
 * library's logo is left out, because its link would carry the page's address; its notice stands under each chart.
 */
(function () {
  "use strict";

  const QUALITY = { good: "--accent", degraded: "--warning", stale: "--unknown", halted: "--liquidate" };
  const LEVEL = ["--healthy", "--warning", "--call", "--accelerated", "--liquidate"];

  function colours(within) {
    const probe = document.createElement("span");
    within.append(probe);
    const read = function (token) {
      probe.style.color = "var(" + token + ")";
      return getComputedStyle(probe).color;
    };
    const found = {};
    for (const token of ["--card", "--ink", "--muted", "--line", ...Object.values(QUALITY), ...LEVEL]) {
      found[token] = read(token);
    }
    probe.remove();
    return found;
  }

  function percent(ratio) {
    return (ratio * 100).toFixed(2) + "\u00a0%";
  }

  function draw(element, data) {
    const ink = colours(element);
    const assets = Object.keys(data.prices);
    element.replaceChildren();
    const chart = LightweightCharts.createChart(element, {
      autoSize: true,
      layout: {
        background: { color: ink["--card"] },
        textColor: ink["--muted"],
        fontFamily: getComputedStyle(element).fontFamily,
        attributionLogo: false,
        panes: { separatorColor: ink["--line"], separatorHoverColor: ink["--line"] },
      },
      grid: { vertLines: { color: ink["--line"] }, horzLines: { color: ink["--line"] } },
      rightPriceScale: { borderColor: ink["--line"] },
      timeScale: { borderColor: ink["--line"], timeVisible: true, secondsVisible: false },
      localization: { timeFormatter: (at) => new Date(at * 1000).toISOString().slice(0, 16).replace("T", " ") + " UTC" },
      handleScroll: { mouseWheel: false, vertTouchDrag: false },
      handleScale: { mouseWheel: false },
    });
    const ltv = chart.addSeries(LightweightCharts.LineSeries, {
      lineWidth: 2,
      priceFormat: { type: "custom", formatter: percent, minMove: 0.0001 },
      color: ink["--accent"],
      // The levels belong to the picture, wherever LTV stands between them.
      autoscaleInfoProvider: (original) => {
        const own = original();
        const levels = data.levels.map((level) => level[1]);
        const range = own ? own.priceRange : { minValue: Math.min(...levels), maxValue: Math.max(...levels) };
        return {
          priceRange: {
            minValue: Math.min(range.minValue, ...levels) - 0.02,
            maxValue: Math.max(range.maxValue, ...levels) + 0.02,
          },
        };
      },
    });
    ltv.setData(
      data.at.map((at, place) =>
        data.ltv[place] === null
          ? { time: at }
          : { time: at, value: data.ltv[place], color: ink[QUALITY[data.quality[place]]] },
      ),
    );
    data.levels.forEach(function (level, place) {
      ltv.createPriceLine({
        price: level[1],
        title: level[0],
        color: ink[LEVEL[place]],
        lineWidth: 1,
        lineStyle: LightweightCharts.LineStyle.Dashed,
        axisLabelVisible: place > 1, // the lowest two lie too close together to be named beside the axis
      });
    });
    LightweightCharts.createSeriesMarkers(
      ltv,
      data.marks.map((mark) => ({
        time: nearest(data.at, mark.at),
        position: mark.bad ? "aboveBar" : "belowBar",
        shape: mark.bad ? "arrowDown" : "circle",
        color: mark.bad ? ink["--accelerated"] : ink["--healthy"],
        text: mark.words,
      })),
    );
    assets.forEach(function (code, place) {
      const series = chart.addSeries(
        LightweightCharts.LineSeries,
        { lineWidth: 1, color: ink["--ink"], title: code, priceFormat: { type: "price", precision: 2, minMove: 0.01 } },
        place + 1,
      );
      const prices = data.prices[code];
      series.setData(
        data.at.map((at, at_place) => (prices[at_place] === null ? { time: at } : { time: at, value: prices[at_place] })),
      );
    });
    chart.panes()[0].setStretchFactor(3);
    for (const pane of chart.panes().slice(1)) pane.setStretchFactor(1);
    // A little room at both ends, so that a call's mark is whole.
    chart.timeScale().setVisibleLogicalRange({ from: -data.at.length / 25, to: data.at.length * 1.01 });
    element.setAttribute("aria-label", summary(data));
    return chart;
  }

  function nearest(times, at) {
    let found = times[0];
    for (const time of times) if (time <= at) found = time;
    return found;
  }

  function summary(data) {
    const known = data.ltv.filter((value) => value !== null);
    if (!known.length) return "No LTV is known in this time.";
    const words = data.marks.map((mark) => mark.words + " " + new Date(mark.at * 1000).toISOString().slice(0, 16));
    return (
      "LTV between " + percent(Math.min(...known)) + " and " + percent(Math.max(...known)) +
      ", last " + percent(known[known.length - 1]) + ". " + words.join(". ")
    );
  }

  function say(element, kind, words) {
    const line = document.createElement("p");
    line.className = kind;
    line.setAttribute("role", "status");
    line.textContent = words;
    element.replaceChildren(line);
  }

  async function show(element) {
    let drawn = null;
    let data = null;
    async function load(span) {
      say(element, "loading", "Loading the history");
      try {
        const answer = await fetch(element.dataset.history + "?span=" + span, { headers: { Accept: "application/json" } });
        if (!answer.ok) throw new Error(answer.statusText);
        data = await answer.json();
      } catch (_error) {
        data = null;
        say(element, "problem", "The history could not be loaded. Try again in a moment.");
        return;
      }
      redraw();
    }
    function redraw() {
      if (!data) return;
      if (drawn) drawn.remove();
      drawn = null;
      if (data.at.length < 2) say(element, "empty", "There is no history yet: a line appears within minutes.");
      else drawn = draw(element, data);
    }
    const choices = document.querySelectorAll('[data-span][data-of="' + element.id + '"]');
    for (const choice of choices) {
      choice.hidden = false;
      choice.addEventListener("click", function () {
        for (const other of choices) other.setAttribute("aria-pressed", String(other === choice));
        load(choice.dataset.span);
      });
    }
    document.addEventListener("plimsoll:theme", redraw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    await load(element.dataset.span);
  }

  document.addEventListener("DOMContentLoaded", function () {
    for (const element of document.querySelectorAll("[data-history]")) show(element);
  });
})();
