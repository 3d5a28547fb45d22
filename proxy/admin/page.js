
"use strict";
(() => {
  const slots = 180, stepMs = 5000;
  const at = id => document.getElementById(id);
  let outcomes = [], last;

  // say changes the text of a node only if it differs, so that a live region announces only changes.
  const say = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  const make = (name, text, attributes = {}) => {
    const node = document.createElement(name);
    if (text !== undefined) node.textContent = text;
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
  const whole = n => number.format(Math.round(n));
  const clock = when => new Date(when).toLocaleTimeString([], { hour12: false });
  const span = s => s < 60 ? `${Math.floor(s)} s` : s < 3600 ? `${Math.floor(s / 60)} min` : s < 86400 ? `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min` : `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
  const time = ms => ms === null ? "–" : ms < 1 ? `${Math.round(ms * 1000)} µs` : ms < 1000 ? `${number.format(ms)} ms` : `${number.format(ms / 1000)} s`;
  const bytes = n => n < 1 << 20 ? `${whole(n / 1024)} KiB` : `${number.format(n / (1 << 20))} MiB`;
  const percent = r => r === null ? "–" : `${number.format(Math.floor(r * 1000) / 10)} %`;
  const colour = word => `var(--${word})`;

  const hosts = { instagram: "Instagram", login: "Instagram's login host", threads: "Threads" };

  // concerns returns what an operator on call should read first.
  function concerns(p) {
    const list = [];
    if (p.state.client_secret.startsWith("refused")) list.push(["bad", `Meta refuses the client secret${p.state.client_secret.replace(/^refused/, "").replace(": ", " of ")}. Compare it with the one in Meta's dashboard: use the Instagram app secret or the Threads app secret, not the Facebook app's secret.`]);
    if (p.state.draining) list.push(["warn", "Draining: requests in flight are answered, then the process ends."]);
    if (p.reload_refused) list.push(["warn", "A changed configuration was refused, and the previous one stays in use. The log and igproxy reload say why."]);
    for (const b of p.upstreams) {
      if (b.breaker === "open") list.push(["bad", `The ${b.name} breaker ${b.since ? "has been open since " + clock(b.since) : "is open"}: igproxy is holding back token calls to ${hosts[b.name]} for at least one app. Known tokens are still served.`]);
      if (b.breaker === "half-open") list.push(["warn", `The ${b.name} breaker is half-open: a probe decides whether igproxy calls ${hosts[b.name]} again.`]);
    }
    if (p.state.redis === "degraded") list.push(["warn", `Redis ${p.state.redis_since ? "has been unavailable since " + clock(p.state.redis_since) : "is unavailable"} (${p.state.redis_fault}): cached answers come from memory, and each sidecar calls Instagram itself.`]);
    for (const l of p.rate_limits || []) {
      const worst = Math.max(0, ...Object.values(l.usage || {}), ...Object.values(l.business_use || {}));
      if (l.regain_minutes) list.push(["bad", `App ${l.app} has used up its rate limit. Instagram blocks the app for another ${l.regain_minutes} min.`]);
      else if (worst >= 80) list.push(["warn", `App ${l.app} has used ${whole(worst)} % of its rate limit.`]);
    }
    return list;
  }

  function head(p) {
    const ready = p.state.ready, text = ready ? "ready" : p.state.draining ? "draining" : "not ready";
    say(at("ready"), text);
    at("ready").dataset.level = ready ? "ok" : p.state.draining ? "warn" : "bad";
    say(at("version"), p.version);
    say(at("uptime"), `up ${span(p.process.uptime_seconds)}`);
    const list = concerns(p), lines = list.length ? list.map(c => c[1]) : ["No problems."];
    at("verdict").dataset.level = list.some(c => c[0] === "bad") ? "bad" : list.length ? "warn" : "ok";
    if (JSON.stringify(lines) !== at("concerns").dataset.shown) {
      at("concerns").dataset.shown = JSON.stringify(lines);
      at("concerns").replaceChildren(...lines.map(l => make("li", l)));
    }
    document.title = (list.length ? `(${list.length}) ` : "") + `igproxy ${text}`;
  }

  function tiles(p) {
    const { hits, exchanges } = p.latency, s = p.saved;
    say(at("rate"), number.format(p.requests.per_second));
    say(at("rate-more"), `${whole(p.requests.window)} in 15 min`);
    say(at("ratio"), percent(p.hit_ratio));
    say(at("ratio-more"), p.hit_ratio === null ? "no token requests" : "of token requests");
    say(at("hit"), time(hits.p50_ms));
    say(at("hit-more"), `p99 ${time(hits.p99_ms)}`);
    say(at("exchange"), time(exchanges.p50_ms));
    say(at("exchange-more"), `p99 ${time(exchanges.p99_ms)}, ${whole(exchanges.count)} exchanges`);
    say(at("saved"), whole(s.cache + s.coalescing));
    say(at("saved-more"), `${whole(s.cache)} cache, ${whole(s.coalescing)} joined`);
    say(at("flights"), whole(p.state.flights));
    say(at("flights-more"), `${p.upstreams.reduce((n, u) => n + u.in_flight, 0)} calls, ${whole(p.state.entries)} cached`);
  }

  // place gives each bucket a column, counted from the left; the live bucket has the last one. A
  // bucket that began late still gets its own column.
  function place(all) {
    const now = all[all.length - 1].t;
    let next = slots;
    for (const b of [...all].reverse()) b.x = next = Math.min(next - 1, slots - 1 - Math.round((now - b.t) / stepMs));
    return all;
  }

  function chart(p) {
    const svg = at("chart"), all = place([...(p.buckets || []), p.live].map(b => ({ ...b, t: Date.parse(b.at) })));
    const per = b => b.counts.map(n => n / Math.max(1, b.seconds));
    const top = nice(Math.max(1, ...all.map(b => per(b).reduce((a, n) => a + n, 0))));
    const paths = outcomes.map(() => "");
    for (const b of all) {
      if (b.x < 0) continue;
      let y = 100;
      per(b).forEach((n, i) => {
        if (!n) return;
        const h = n / top * 100;
        y -= h;
        paths[i] += `M${b.x + .06} ${y.toFixed(3)}h.88v${h.toFixed(3)}h-.88z`;
      });
    }
    outcomes.forEach((word, i) => {
      let path = svg.children[i];
      if (!path) {
        path = document.createElementNS("http://www.w3.org/2000/svg", "path");
        path.style.fill = colour(word);
        svg.append(path);
      }
      path.setAttribute("d", paths[i]);
    });
    say(at("tick-top"), `${number.format(top)}/s`);
    say(at("tick-half"), `${number.format(top / 2)}/s`);
    const totals = p.requests.by_outcome;
    const summary = outcomes.filter(w => totals[w]).map(w => `${totals[w]} ${w}`).join(", ") || "none";
    svg.setAttribute("aria-label", `Requests over the last 15 minutes: ${summary}`);
    outcomes.forEach((word, i) => {
      let item = at("legend").children[i];
      if (!item) {
        item = make("li");
        const mark = make("i");
        mark.style.background = colour(word);
        item.append(mark, make("span", word), make("b"));
        at("legend").append(item);
      }
      item.toggleAttribute("data-none", !totals[word]);
      say(item.lastChild, whole(totals[word] || 0));
    });
    moment(all);
    if (at("minutes").closest("details").open) minutes(all);
  }

  const nice = n => { const p = 10 ** Math.floor(Math.log10(n)); return [1, 2, 5, 10].find(m => m * p >= n) * p; };
  const words = counts => outcomes.map((w, i) => counts[i] ? `${counts[i]} ${w}` : "").filter(Boolean).join(", ") || "no requests";

  function moment(all) {
    const x = +at("moment").value, b = all.find(b => b.x === x);
    const text = b ? `${clock(b.t)}: ${words(b.counts)}` : "before this sidecar started";
    say(at("moment-text"), text);
    at("moment").setAttribute("aria-valuetext", text);
  }

  function minutes(all) {
    if (!at("minutes-head").firstChild) {
      const row = make("tr");
      row.append(make("th", "from", { scope: "col" }), ...outcomes.map(w => make("th", w, { scope: "col" })));
      at("minutes-head").append(row);
    }
    const rows = new Map();
    for (const b of all) {
      const minute = Math.floor(b.t / 60000) * 60000, sums = rows.get(minute) || outcomes.map(() => 0);
      rows.set(minute, sums.map((n, i) => n + b.counts[i]));
    }
    at("minutes").replaceChildren(...[...rows].reverse().map(([minute, sums]) => {
      const row = make("tr");
      row.append(make("th", clock(minute), { scope: "row" }), ...sums.map(n => make("td", whole(n))));
      return row;
    }));
  }

  // rows fills a list of names and numbers.
  function rows(id, pairs, none) {
    const text = JSON.stringify(pairs);
    if (at(id).dataset.shown === text) return;
    at(id).dataset.shown = text;
    at(id).replaceChildren(...(pairs.length ? pairs : [[none, ""]]).map(([name, value]) => {
      const row = make("div");
      row.append(make("dt", name), make("dd", value));
      return row;
    }));
  }

  const level = { closed: "ok", "half-open": "warn", open: "bad" };

  function instagram(p) {
    const text = JSON.stringify(p.upstreams);
    if (at("breakers").dataset.shown !== text) {
      at("breakers").dataset.shown = text;
      at("breakers").replaceChildren(...p.upstreams.map(b => {
        const box = make("div", undefined, { class: "breaker", "data-upstream": b.name }), line = make("p", undefined, { class: "state" });
        line.append(make("span", undefined, { class: "mark", "data-level": level[b.breaker] }), make("span", `${b.name}: breaker ${b.breaker}${b.since ? ", since " + clock(b.since) : ""}`));
        box.append(line);
        return box;
      }));
    }
    rows("results", Object.entries(p.results).sort((a, b) => b[1] - a[1]).map(([k, n]) => [k.replace("_", " "), whole(n)]), "no calls in 15 min");
  }

  function redis(p) {
    const off = p.state.redis === "off", ok = p.state.redis === "ok";
    at("redis-mark").dataset.level = off ? "off" : ok ? "ok" : "bad";
    say(at("redis-state"), off ? "not configured" : ok ? "in use" : `unavailable: ${p.state.redis_fault}`);
    say(at("redis-more"), off ? "The cache is in memory only." : `mode ${p.redis_mode || "single"}${p.state.redis_since ? ", since " + clock(p.state.redis_since) : ""}`);
    rows("redis-errors", Object.entries(p.redis_faults).sort().map(([k, n]) => [k.replace(" ", ": "), whole(n)]), "none");
  }

  function limits(p) {
    const text = JSON.stringify(p.rate_limits);
    if (at("limits").dataset.shown === text) return;
    at("limits").dataset.shown = text;
    const bars = [];
    for (const l of p.rate_limits || []) {
      for (const [kind, usage] of [["app", l.usage], ["business use", l.business_use]]) {
        for (const [name, n] of Object.entries(usage || {})) {
          const box = make("div", undefined, { class: "limit" }), line = make("p"), title = `${l.app}, ${kind}: ${name.replace("_", " ")}`;
          const bar = make("div", undefined, { class: "bar", role: "meter", "aria-label": title, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.min(n, 100), "data-level": n >= 95 ? "bad" : n >= 80 ? "warn" : "ok" });
          const fill = make("i");
          fill.style.width = `${Math.min(n, 100)}%`;
          bar.append(fill);
          line.append(make("span", title), make("b", `${number.format(n)} %`));
          box.append(line, bar);
          bars.push(box);
        }
      }
      bars.push(make("p", `at ${clock(l.at)}${l.regain_minutes ? `, access returns in ${l.regain_minutes} min` : ""}`, { class: "small" }));
    }
    at("limits").replaceChildren(...(bars.length ? bars : [make("p", "nothing yet", { class: "small" })]));
  }

  function draw(p) {
    outcomes = p.outcomes;
    last = p;
    head(p); tiles(p); chart(p); instagram(p); redis(p); limits(p);
    rows("process", [["version", p.version], ["commit", (p.commit || "unknown").slice(0, 12)], ["Go", (p.go || "").replace("go", "")], ["goroutines", whole(p.process.goroutines)],
      ["heap", bytes(p.process.heap_bytes)], ["runtime memory", bytes(p.process.memory_bytes)], ["processors", whole(p.process.processors)], ["since", new Date(p.started).toLocaleString()]], "");
    const text = JSON.stringify(p.configuration);
    if (at("configuration").dataset.shown === text) return;
    at("configuration").dataset.shown = text;
    at("configuration").replaceChildren(...(p.configuration || []).map(([key, value]) => {
      const row = make("tr"), name = make("th", undefined, { scope: "row" });
      name.append(make("code", key));
      row.append(name, make("td", value || "not set"));
      return row;
    }));
  }

  function link(state, text) {
    at("link").dataset.state = state;
    say(at("link"), text);
    document.body.classList.toggle("stale", state === "lost");
  }

  // poll reads the status every second. A connection that hangs counts as lost.
  async function poll() {
    let status;
    try {
      const reply = await fetch("status", { signal: AbortSignal.timeout(8000) });
      if (reply.ok) status = await reply.json();
    } catch { /* treated like an error reply */ }
    setTimeout(poll, 1000);
    if (!status) return link("lost", "connection lost");
    draw(status);
    link("live", "live");
  }

  at("moment").addEventListener("input", () => last && chart(last));
  at("chart").addEventListener("pointermove", e => {
    const box = at("chart").getBoundingClientRect();
    at("moment").value = Math.floor((e.clientX - box.left) / box.width * slots);
    if (last) chart(last);
  });
  at("chart").addEventListener("pointerleave", () => { at("moment").value = slots - 1; if (last) chart(last); });
  at("minutes").closest("details").addEventListener("toggle", () => last && chart(last));
  poll();
})();
