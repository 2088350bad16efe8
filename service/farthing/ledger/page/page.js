"use strict";
// Draws what /api/statement and /api/history say, once a second, without a reload. No figure is computed here: only
// formatted. Everything that comes from outside goes in as text, never as markup.

const byId = (id) => document.getElementById(id);
const number = (value) => (value === null || value === undefined ? "–" : Number(value).toLocaleString("en-US"));
const state = { charts: {}, rows: {}, failures: 0, choicesKnown: false };

function dollars(value) {
  if (value === null || value === undefined) return "–";
  const n = Number(value), size = Math.abs(n), sign = n < 0 ? "−" : "";
  if (size >= 1e6) return `${sign}$${(size / 1e6).toLocaleString("en-US", { maximumSignificantDigits: 4 })} M`;
  if (size >= 100) return `${sign}$${size.toLocaleString("en-US", { maximumFractionDigits: 0 })}`;
  if (size >= 1) return `${sign}$${size.toFixed(2)}`;
  return size === 0 ? "$0" : `${sign}$${size.toLocaleString("en-US", { minimumSignificantDigits: 2, maximumSignificantDigits: 2, useGrouping: false })}`;
}

function range(of) {
  return of === null || of === undefined || of.low === of.high ? "" : `${dollars(of.low)} to ${dollars(of.high)}`;
}

function volume(n) {
  if (n === null || n === undefined) return "never";
  for (const [size, unit] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
    if (n >= size) return `${(n / size).toLocaleString("en-US", { maximumSignificantDigits: 3 })}${unit}`;
  }
  return String(n);
}

function duration(seconds) {
  if (seconds >= 86400) return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
  if (seconds >= 3600) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return seconds >= 60 ? `${Math.floor(seconds / 60)} min ${seconds % 60} s` : `${seconds} s`;
}

function age(ms) {
  return ms < 100000 ? `${number(ms)} ms` : duration(Math.floor(ms / 1000));
}

function say(id, text, kind = "") {
  const at = byId(id);
  if (at.textContent !== text) at.textContent = text;
  if (at.classList.contains("big")) at.className = kind ? `big ${kind}` : "big";
}

function rows(id, contents) {
  const key = JSON.stringify(contents);
  if (state.rows[id] === key) return; // rows that are left alone keep the text that is selected in them
  state.rows[id] = key;
  const body = byId(id).tBodies[0];
  const drawn = contents.map(({ cells, kind }) => {
    const row = document.createElement("tr");
    if (kind) row.className = kind;
    cells.forEach((cell, k) => {
      const at = document.createElement("td");
      const { text, more, number: isNumber, bad } = typeof cell === "object" && cell !== null ? cell : { text: cell };
      at.textContent = text;
      if (isNumber) at.classList.add("n");
      if (bad) at.classList.add("over");
      if (more) {
        const span = document.createElement("span");
        span.className = "interval";
        span.textContent = ` ${more}`;
        at.append(span);
      }
      row.append(at);
    });
    return row;
  });
  if (!drawn.length) {
    const row = document.createElement("tr"), at = document.createElement("td");
    at.colSpan = byId(id).tHead.rows[0].cells.length;
    at.className = "interval";
    at.textContent = "nothing yet";
    row.append(at);
    drawn.push(row);
  }
  body.replaceChildren(...drawn);
}

const right = (text, more) => ({ text, more, number: true });

function options(id, choices, chosen) {
  const at = byId(id);
  if (at.options.length === choices.length) return;
  at.replaceChildren(...choices.map(([value, text]) => new Option(text, value, false, value === chosen)));
}

// No model that is compared with takes any of a route's events.
const tooLarge = (route) => route.scored > 0 && !route.prices.length;

function verdict(now) {
  const of = now.comparison;
  if (!of && now.routes.length) return "Nothing to compare with: events this large fit into no context window of the models compared with.";
  if (!of) return now.events.dead ? `No event has been scored yet; ${number(now.events.dead)} could not be scored and are in the dead-letter topic, each with its reason.` : "No event has been scored yet.";
  const rate = `${volume(of.events_per_day)} events a day (${of.events_per_day_from === "last minute" ? "the current rate" : "the average of all time, as nothing was scored in the last minute"}),`;
  const from = of.threshold_events_per_day;
  const free = of.free_endpoint && of.free_endpoint.takes_this_volume;
  if (of.verdict === "tuned") {
    return `At ${rate} the tuned model is cheaper than ${of.model} in its cheapest pricing mode. It pays from about ${volume(from.mid)} a day.`;
  }
  const over = from.mid === null ? "At these prices the tuned model never pays." : `The tuned model pays from about ${volume(from.mid)} a day (${volume(from.low)} to ${volume(from.high)}).`;
  if (free) return `At ${rate} stay on the API: ${of.free_endpoint.endpoint} accepts this volume for free. ${over}`;
  if (of.verdict === "api") return `At ${rate} stay on the API: ${of.model} in its cheapest pricing mode costs less. ${over}`;
  return `At ${rate} it is too close to call: the estimates overlap. ${over}`;
}

function lagNote(now) {
  if (now.lag !== null) return "events still to be scored" + (now.lag_unreadable ? `, ${number(now.lag_unreadable)} of them behind an open transaction` : "");
  const silent = now.workers.find((w) => !w.alive), unsure = now.workers.find((w) => w.alive && w.lag === null);
  if (!now.workers.some((w) => w.alive)) return "not known: no worker is running";
  if (unsure) return `not known yet: ${unsure.worker} is waiting for its partitions`;
  return silent ? `not known: no worker has taken over the partitions of ${silent.worker} yet` : "not known";
}

// A page without data says how to send the first event.
async function begin(now) {
  const at = byId("first");
  at.hidden = now.comparison !== null || now.events.scored > 0;
  if (at.hidden) return;
  state.routes ??= await get("api/routes").catch(() => null);
  if (!state.routes) return;
  const alive = now.workers.some((w) => w.alive), text = [];
  if (!alive) text.push(["p", "No worker is running. Start one with this ledger's settings:"], ["pre", "farthing serve -c farthing.toml"]);
  for (const route of state.routes) {
    text.push(["p", `${alive ? "Workers read" : "It will read"} the topic ${route.topic} at ${route.bootstrap_servers.join(", ")}. Send it an event with the Python that Farthing is installed in:`], ["pre", route.command]);
  }
  const key = JSON.stringify(text);
  if (state.first === key) return; // drawn once: a selection of the command is kept
  state.first = key;
  at.replaceChildren(...text.map(([tag, content]) => {
    const made = Object.assign(document.createElement(tag), { textContent: content });
    if (tag === "pre") Object.assign(made, { tabIndex: 0 }); // a long line can be scrolled by keyboard
    return made;
  }));
}

function freeRow(of) {
  const free = of?.free_endpoint;
  if (!free) return [];
  const takes = free.takes_events_per_day;
  return [{
    cells: [free.endpoint, "free endpoint", right("$0"), right(free.takes_this_volume ? "$0" : "–"),
      { text: `accepts ${volume(takes.mid)} a day (${free.limit})`, bad: !free.takes_this_volume }],
  }];
}

function drawStatement(now) {
  options("model", now.models.map((m) => [m, m]), now.model);
  options("mode", now.modes.map((m) => [m.mode, m.label]), now.mode);
  say("verdict", verdict(now));
  const saved = now.saved_usd;
  const lost = saved !== null && Number(saved.mid) < 0;
  say("saved-title", lost ? "Spent more than the API would have cost" : "Saved against the API");
  say("saved", saved === null ? "–" : dollars(lost ? -Number(saved.mid) : saved.mid), saved === null ? "" : lost ? "bad" : "good");
  say("saved-note", saved === null
    ? now.events.scored ? now.routes.some(tooLarge) ? "not known: some events fit into no context window" : "this pricing mode is not offered" : "nothing was scored in this period"
    : `${lost && Number(saved.high) < 0 ? `between ${dollars(-saved.high)} and ${dollars(-saved.low)} more` : `between ${dollars(saved.low)} and ${dollars(saved.high)}`}; ${number(now.events.scored)} events scored, against ${now.model}, ${byId("mode").selectedOptions[0]?.text ?? ""}`);
  say("own-million", dollars(now.own.usd_per_million?.mid));
  say("own-note", range(now.own.usd_per_million) || "all reserved cores, busy or idle");
  say("api-million", dollars(now.avoided_usd_per_million?.mid));
  say("api-note", range(now.avoided_usd_per_million));
  say("rate", now.events_per_second === null ? "–" : number(Math.round(now.events_per_second)));
  say("rate-note", `${number(now.events.dead)} dead letters in this period`);
  say("p99-note", now.latency_p99_ms === null && now.latency_p99_over_ms === null ? "no event in the last minute" : "event to acknowledged score");
  say("p99", now.latency_p99_over_ms !== null ? `> ${number(now.latency_p99_over_ms)} ms` : now.latency_p99_ms === null ? "–" : age(now.latency_p99_ms), now.latency_p99_over_ms !== null ? "bad" : "");
  say("lag", number(now.lag));
  say("lag-note", lagNote(now));
  begin(now);
  rows("opponents", [...freeRow(now.comparison), ...now.opponents.filter((o) => o.usd_per_million !== null).map((o) => {
    const over = o.limits.filter((t) => t.fits === false), fit = o.limits.filter((t) => t.fits === true);
    const limits = fit.length ? `within ${fit[0].tier}` : over.length ? `over ${over[over.length - 1].tier}` : "none published";
    const mode = now.mode === "cheapest" ? now.routes.find((r) => r.topic === o.topic && r.scored_by === o.scored_by)?.prices.find((p) => p.model === o.model)?.cheapest_mode : now.mode;
    return {
      cells: [{ text: o.model, more: now.routes.length > 1 ? `${o.topic}, ${o.scored_by}` : "" }, o.label,
        right(dollars(o.usd_per_million.mid), range(o.usd_per_million)), right(dollars(o.usd?.mid), range(o.usd)),
        { text: limits, bad: !fit.length && over.length > 0 }],
      kind: o.model === now.model && o.mode === mode ? "chosen" : "",
    };
  })]);
  rows("own", [...Object.entries(now.own.by).map(([what, usd]) => ({ cells: [what, right(dollars(usd.mid), range(usd))] })),
    { cells: ["total", right(dollars(now.own.usd.mid), range(now.own.usd))], kind: "chosen" }]);
  const pays = now.comparison?.payback_days;
  say("payback", !pays ? "" : pays.mid === null
    ? "At the current rate, training and set-up are not paid back within ten years."
    : `Training, labels and set-up (${dollars(now.comparison.one_off_usd.mid)}) are paid back within ${number(pays.mid)} ${pays.mid === 1 ? "day" : "days"} at the current rate.`);
  byId("by-tenant").hidden = !now.tenants.length;
  rows("tenants", now.tenants.map((t) => ({
    cells: [t.tenant, right(number(t.scored)), right(number(t.dead)),
      right(t.share === null ? "–" : `${(100 * t.share).toFixed(1)} %`), right(dollars(t.avoided_usd?.mid))],
  })));
  rows("workers", now.workers.map((w) => ({
    cells: [w.worker, { text: w.alive ? w.state : `silent for ${duration(Math.floor(w.seen_ms_ago / 1000))}`, bad: !w.alive || w.state !== "running" }, right(number(w.cores)),
      right(w.cpu_share === null ? "–" : `${(100 * w.cpu_share).toFixed(0)} %`), right(w.alive ? number(w.lag) : "–"), right(duration(w.up_s))],
  })));
  const notes = [];
  for (const route of now.routes) {
    notes.push(`${route.topic}, scored by ${route.scored_by}: ${number(route.scored)} events in this period.`);
    if (!route.prices.length) notes.push(`${route.topic}: none of its events in this period fits into the context window of every model compared with, so an API has no price for them.`);
    for (const p of route.prices) notes.push(`${p.model}: prices of ${p.as_of} from ${p.source}${p.source_date ? ` (${p.source_date})` : ""}; tokens: ${p.tokens}.`);
  }
  if (!notes.length) notes.push("nothing yet");
  byId("basis").replaceChildren(...notes.map((text) => Object.assign(document.createElement("p"), { textContent: text })));
  drawEven(now.comparison);
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function axis(more) {
  return { stroke: colour("--soft"), font: "12px system-ui", grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, ...more };
}

function chart(id, make, data, marks = {}) {
  const box = byId(id), width = box.clientWidth - 16, height = box.clientHeight - (width < 420 ? 76 : 50); // on a phone the legend has two lines
  const drawn = state.charts[id];
  if (drawn && drawn.theme === document.documentElement.dataset.theme) {
    Object.assign(drawn.marks, marks);
    if (drawn.plot.width !== width) drawn.plot.setSize({ width, height });
    drawn.plot.setData(data);
    drawn.rest(drawn.plot);
    return;
  }
  if (drawn) drawn.plot.destroy();
  const made = { theme: document.documentElement.dataset.theme, marks: { ...marks } };
  // Without a pointer over it, the legend has the values of one point: the last, or the one that the marks name.
  made.rest = (plot) => { if (!(plot.cursor.left >= 0)) plot.setLegend({ idx: made.marks.rest ?? plot.data[0].length - 1 }, false); };
  const asked = make(made.marks);
  made.plot = new uPlot({ width, height, ...asked, hooks: { ...asked.hooks, setLegend: [made.rest] } }, data, box);
  made.rest(made.plot);
  box.querySelector("table").setAttribute("aria-label", id === "even-chart" ? "Values at the pointer, or at the current rate" : "Values at the pointer, or the last ones");
  state.charts[id] = made;
}

function nearest(values, to) {
  return values.reduce((best, value, k) => (Math.abs(value - to) < Math.abs(values[best] - to) ? k : best), 0);
}

function drawEven(of) {
  if (!of) return;
  const power = (usd) => (Number(usd) > 0 ? Math.log10(Number(usd)) : null);
  const x = of.curve.map((p) => Math.log10(p.events_per_day));
  const data = [x, of.curve.map((p) => power(p.own_usd.mid)), of.curve.map((p) => power(p.api_usd.mid))];
  // Powers of ten are drawn on straight axes: uPlot's own log scale gives no room for a label of one's choice.
  chart("even-chart", (marks) => ({
    scales: { x: { time: false } },
    axes: [axis({ incrs: [1, 2, 3], values: (_, ticks) => ticks.map((t) => volume(10 ** t)) }),
      axis({ size: 64, incrs: [1, 2, 3], values: (_, ticks) => ticks.map((t) => `$${t < 0 ? Number((10 ** t).toPrecision(1)) : volume(10 ** t)}`) })],
    series: [{ label: "a day", value: (_, v) => (v === null ? "–" : volume(10 ** v)) },
      { label: "own", stroke: colour("--own"), width: 2, pxAlign: 0, value: (_, v) => (v === null ? "–" : dollars(10 ** v)) },
      { label: "API", stroke: colour("--api"), width: 2, pxAlign: 0, value: (_, v) => (v === null ? "–" : dollars(10 ** v)) }],
    hooks: { draw: [(plot) => {
      const lines = [["now", marks.now, colour("--ink"), 12], ["break-even", marks.even, colour("--soft"), 26]];
      for (const [text, at, stroke, y] of lines) {
        if (!at || Math.log10(at) < x[0] || Math.log10(at) > x[x.length - 1]) continue;
        const place = plot.valToPos(Math.log10(at), "x", true), c = plot.ctx, ratio = window.devicePixelRatio || 1;
        c.save();
        c.strokeStyle = c.fillStyle = stroke;
        c.setLineDash([4 * ratio, 4 * ratio]);
        c.beginPath();
        c.moveTo(place, plot.bbox.top);
        c.lineTo(place, plot.bbox.top + plot.bbox.height);
        c.stroke();
        c.font = `${12 * ratio}px system-ui`;
        // Each label on the side away from the other line, but within the chart.
        const share = (place - plot.bbox.left) / plot.bbox.width, other = at === marks.now ? marks.even : marks.now;
        const toLeft = share > 0.8 || (share > 0.2 && other !== null && at < other);
        c.textAlign = toLeft ? "right" : "left";
        c.fillText(text, place + (toLeft ? -6 : 6) * ratio, plot.bbox.top + y * ratio);
        c.restore();
      }
    }] },
  }), data, { now: of.events_per_day, even: of.threshold_events_per_day.mid, rest: nearest(x, Math.log10(Math.max(of.events_per_day, 1))) });
  say("even-note", `Cost a day by events a day, both on log axes; ${of.model} in its cheapest paid pricing mode. Break-even at ${volume(of.threshold_events_per_day.mid)} a day (${volume(of.threshold_events_per_day.low)} to ${volume(of.threshold_events_per_day.high)}).`);
}

function drawHistory(past) {
  const data = [past.at_s, past.own_usd.map(Number), past.api_usd.map((v) => (v === null ? null : Number(v)))];
  const clock = (form) => (seconds) => new Date(1000 * seconds).toISOString().slice(...form).replace("T", " ");
  const flat = data[0][0] === data[0][data[0].length - 1]; // a time axis of no length would be drawn as years
  if (!flat || state.charts["time-chart"]) chart("time-chart", () => ({
    tzDate: (seconds) => uPlot.tzDate(new Date(1000 * seconds), "Etc/UTC"),
    axes: [axis({ space: 70, values: (_, ticks, __, ___, step) => ticks.map(clock(step >= 86400 ? [5, 10] : [11, step < 60 ? 19 : 16])) }), axis({ size: 64, values: (_, ticks) => ticks.map(dollars) })],
    series: [{ label: "UTC", value: (_, v) => (v === null ? "–" : clock([0, 19])(v)) }, { label: "own", stroke: colour("--own"), width: 2, fill: colour("--own") + "22", value: (_, v) => dollars(v) },
      { label: "API", stroke: colour("--api"), width: 2, value: (_, v) => dollars(v) }],
  }), data);
  say("time-note", data[0].length < 3 ? "The first points appear within minutes." : `Dollars since ${new Date(1000 * data[0][0]).toISOString().slice(0, 16).replace("T", " ")} UTC, minute by minute; the API's at the mean price of this period.`);
}

async function get(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(8000), cache: "no-store" });
  if (!answer.ok) throw new Error((await answer.text()) || answer.statusText);
  return answer.json();
}

async function refresh() {
  const query = new URLSearchParams({ window: byId("window").value });
  if (byId("model").value) query.set("model", byId("model").value);
  query.set("mode", byId("mode").value || "cheapest");
  try {
    const [now, past] = await Promise.all([get(`api/statement?${query}`), get(`api/history?${query}`)]);
    drawStatement(now);
    drawHistory(past);
    state.failures = 0;
    byId("live").className = "on";
    say("live-text", `live, ${new Date(now.at_ms).toISOString().slice(11, 19)} UTC`);
  } catch (error) {
    state.failures += 1;
    byId("live").className = "off";
    say("live-text", `no answer from the ledger (${error.message.trim().slice(0, 80)})`);
  }
}

async function loop() {
  for (;;) {
    if (!document.hidden) await refresh();
    await new Promise((done) => { state.wake = done; setTimeout(done, Math.min(1000 * 2 ** Math.min(state.failures, 4), 10000)); });
  }
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  byId("theme").setAttribute("aria-pressed", String(name === "dark"));
  byId("theme").textContent = name === "dark" ? "Switch to light" : "Switch to dark";
  try { localStorage.setItem("farthing-theme", name); } catch { /* storage may be forbidden: the theme then lasts as long as the page */ }
}

let kept = null;
try { kept = localStorage.getItem("farthing-theme"); } catch { /* as above */ }
theme(kept === "dark" || kept === "light" ? kept : matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
byId("theme").addEventListener("click", () => { theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"); state.wake?.(); });
for (const id of ["window", "model", "mode"]) byId(id).addEventListener("change", () => state.wake?.());
byId("choices").addEventListener("submit", (event) => event.preventDefault());
addEventListener("resize", () => state.wake?.());
loop();
