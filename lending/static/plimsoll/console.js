/* The console's charts: drawn by uPlot in the page's own colours, in UTC, drawn again by night and when the page grows. */
(function () {
  "use strict";

  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);

  /* what a token stands for by day or by night, as the canvas must have it */
  function colour(token, strength) {
    probe.style.color = strength === undefined ? "var(" + token + ")" : "color-mix(in srgb, var(" + token + ") " + strength + "%, transparent)";
    return getComputedStyle(probe).color;
  }

  function axis(more) {
    const line = { stroke: colour("--line"), width: 1 };
    return Object.assign({ stroke: colour("--muted"), grid: line, ticks: line, font: "12px Plex, sans-serif" }, more);
  }

  const percent = (values) => values.map((value) => (value === null ? "" : Math.round(value * 1000) / 10 + "\u00a0%"));
  const plain = (values) => values.map((value) => (value === null ? "" : value.toLocaleString("en")));
  const STEPS = [60, 300, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
  const utc = (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC");
  const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 16);
  const day = (seconds) => new Date(seconds * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
  const times = (plot, values) => values.map((at) => (clock(at) === "00:00" ? day(at) : clock(at)));
  const instant = { label: "UTC", value: (plot, at) => (at === null ? "–" : day(at) + " " + clock(at)) };

  /* a line that breaks off where its value is not known, and is dotted where its marks were not good */
  function split(values, quality) {
    const good = values.map((value, place) => (quality[place] === "good" ? value : null));
    const other = values.map(function (value, place) {
      const near = [place - 1, place, place + 1].some((at) => quality[at] !== undefined && quality[at] !== "good");
      return near ? value : null;
    });
    return [good, other];
  }

  function lines(label, format) {
    return [
      instant,
      { label: label, stroke: colour("--accent"), width: 2, value: format, points: { show: false } },
      { label: "not good", stroke: colour("--unknown"), width: 2, dash: [3, 4], value: format, points: { show: false } },
    ];
  }

  /* levels of the ladder across the plot, each with its name, and the calls behind it */
  function ladder(figures) {
    return {
      drawClear: [function (plot) {
        const { ctx, bbox } = plot;
        ctx.save();
        ctx.fillStyle = colour("--call", 14);
        for (const [begin, end] of figures.calls) {
          const left = Math.max(plot.valToPos(begin, "x", true), bbox.left);
          const right = Math.min(plot.valToPos(end, "x", true), bbox.left + bbox.width);
          ctx.fillRect(left, bbox.top, Math.max(right - left, 2), bbox.height);
        }
        ctx.restore();
      }],
      draw: [function (plot) {
        const { ctx, bbox } = plot;
        ctx.save();
        ctx.font = 12 * devicePixelRatio + "px Plex, sans-serif";
        ctx.lineWidth = devicePixelRatio;
        ctx.setLineDash([]);
        ctx.textBaseline = "alphabetic";
        for (const [place, [name, level]] of figures.levels.entries()) {
          const y = plot.valToPos(level, "y", true);
          if (y < bbox.top || y > bbox.top + bbox.height) continue;
          ctx.strokeStyle = colour("--line-strong");
          ctx.fillStyle = colour("--muted");
          ctx.beginPath();
          ctx.moveTo(bbox.left, y);
          ctx.lineTo(bbox.left + bbox.width, y);
          ctx.stroke();
          // Neighbours lie close together: their names stand at opposite ends.
          ctx.textAlign = place % 2 ? "right" : "left";
          const at = place % 2 ? bbox.left + bbox.width - 6 * devicePixelRatio : bbox.left + 6 * devicePixelRatio;
          ctx.fillText(name, at, y + (place ? -4 : 14) * devicePixelRatio);
        }
        ctx.restore();
      }],
    };
  }

  const bars = () => uPlot.paths.bars({ size: [0.86, 60], align: 1 });

  const CHARTS = {
    ltv: (figures) => ({
      data: [figures.at, ...split(figures.ltv, figures.quality)],
      options: {
        tzDate: utc,
        hooks: ladder(figures),
        scales: { y: { range: (plot, low, high) => [Math.min(low, figures.levels[0][1]) - 0.03, Math.max(high, figures.levels.at(-1)[1]) + 0.03] } },
        axes: [axis({ values: times, incrs: STEPS }), axis({ values: (plot, values) => percent(values), size: 60 })],
        series: lines("LTV", (plot, value) => (value === null ? "–" : percent([value])[0])),
      },
    }),
    mark: (figures) => ({
      data: [figures.at, ...split(figures.price, figures.quality)],
      options: {
        tzDate: utc,
        axes: [axis({ values: times, incrs: STEPS }), axis({ values: (plot, values) => plain(values), size: 80 })],
        series: lines("USD", (plot, value) => (value === null ? "–" : plain([value])[0])),
      },
    }),
    distribution: (figures) => ({
      shown: figures.accounts.indexOf(Math.max(...figures.accounts)),
      data: [figures.edges, figures.accounts],
      options: {
        scales: { x: { time: false, range: [0, 1.03] }, y: { range: (plot, low, high) => [0, Math.max(high, 1) * 1.08] } },
        axes: [axis({ values: (plot, values) => percent(values) }), axis({ values: (plot, values) => plain(values) })],
        series: [
          { label: "LTV from", value: (plot, value) => (value === null ? "–" : percent([value])[0]) },
          { label: "accounts", stroke: colour("--accent"), fill: colour("--accent", 45), paths: bars(), points: { show: false } },
        ],
      },
    }),
    shocks: (figures) => {
      const rising = figures.shocks.map((shock) => -shock);
      return {
        shown: 6,
        data: [rising, figures.called, figures.liquidated],
        options: {
          scales: { x: { time: false, range: [0, 0.6] }, y: { range: (plot, low, high) => [0, Math.max(high, 1) * 1.08] } },
          axes: [axis({ values: (plot, values) => percent(values.map((value) => -value)) }), axis({ values: (plot, values) => plain(values) })],
          series: [
            { label: "fall", value: (plot, value) => (value === null ? "–" : percent([-value])[0]) },
            { label: "past the call", stroke: colour("--call"), width: 2, dash: [6, 4] },
            { label: "to be sold", stroke: colour("--liquidate"), width: 2, fill: colour("--liquidate", 15) },
          ],
        },
      };
    },
  };

  async function figuresOf(place) {
    if (place.dataset.figures) return JSON.parse(document.getElementById(place.dataset.figures).textContent);
    const answer = await fetch(place.dataset.src, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(answer.status);
    return answer.json();
  }

  async function draw(place) {
    let figures;
    try {
      figures = await figuresOf(place);
    } catch {
      place.textContent = "This chart could not be drawn; open the page again to try once more.";
      place.classList.add("undrawn");
      return;
    }
    if (figures.at && figures.at.length < 2) {
      place.textContent = "Nothing was marked in this time.";
      place.classList.add("undrawn");
      return;
    }
    let plot = null;
    const size = () => ({ width: Math.max(place.clientWidth, 200), height: Math.max(place.clientHeight - 40, 160) });
    const make = function () {
      const chart = CHARTS[place.dataset.chart](figures);
      place.replaceChildren();
      plot = new uPlot(Object.assign(size(), { cursor: { drag: { x: false, y: false } } }, chart.options), chart.data, place);
      // Until a pointer says otherwise the legend tells of the newest point, or of one that says something.
      const shown = chart.shown ?? chart.data[0].length - 1;
      requestAnimationFrame(() => plot.setLegend({ idx: shown }, false));
    };
    make();
    new ResizeObserver(() => plot.setSize(size())).observe(place);
    document.addEventListener("plimsoll:theme", make);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", make);
  }

  document.fonts.ready.then(function () {
    for (const place of document.querySelectorAll("[data-chart]")) draw(place);
  });
})();
