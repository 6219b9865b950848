"use strict";
// Shows /v1/status: polled, and at once after every event. Reads only; nothing here changes anything.

const POLL_MS = 2000;
const SOON_MS = 150;
const EVENTS_KEPT = 100;
const ENDPOINTS_SHOWN = 200;
const SIGN = { healthy: "\u2713", saturated: "\u2248", degraded: "!", down: "\u2717", unknown: "?" };

const WAY = { draining: "being drained", held: "drained", restoring: "coming back" };

const byId = (id) => document.getElementById(id);

// Text only ever enters the page as text nodes: a reason out of an endpoint's answer cannot become markup.
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) node.setAttribute(name, value);
  }
  node.append(...children.filter((c) => c !== undefined && c !== null && c !== ""));
  return node;
}

const percent = (share) => (share === undefined || share === null ? "" : `${(share * 100).toFixed(1)}%`);
const state = (health) => make("span", { class: `state ${SIGN[health] ? health : "unknown"}` }, `${SIGN[health] || "?"} ${health}`);
const clock = (when) => (when ? new Date(typeof when === "number" ? when * 1000 : when) : new Date()).toLocaleTimeString();

function ago(when, now) {
  if (!when) return "";
  const seconds = Math.max(0, (Date.parse(now) - Date.parse(when)) / 1000);
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

function row(kind, name, it, now) {
  const share = it.share;
  const bar = share === undefined || share === null ? "" : make("meter", { min: 0, max: 1, value: share, "aria-label": `share of ${name}` });
  const voices = it.voices ? `${it.voices.unhealthy || 0} of ${Object.values(it.voices).reduce((a, b) => a + b, 0)} say unhealthy` : "";
  return make("tr", { class: kind },
    make("th", { scope: "row" }, name),
    make("td", {}, state(it.health)),
    make("td", { class: "num share" }, bar, percent(share)),
    make("td", { class: "num" }, ago(it.since, now)),
    make("td", {}, voices),
    make("td", { class: "why" }, it.reason || ""));
}

// Regions with their zones with their endpoints. A zone or endpoint whose parent is not told stands at the end.
function rows(service, now) {
  const out = [];
  const entries = (map) => Object.entries(map || {});
  const zones = entries(service.zones);
  const all = entries(service.endpoints);
  const shown = all.length <= ENDPOINTS_SHOWN ? all : all.filter(([, e]) => e.health !== "healthy").slice(0, ENDPOINTS_SHOWN);
  const placed = new Set();
  const zoneRows = (zone) => {
    out.push(row("zone", zone[0], zone[1], now));
    for (const e of shown) {
      if (e[1].zone === zone[0]) { placed.add(e[0]); out.push(row("endpoint", e[0], e[1], now)); }
    }
  };
  for (const [name, region] of entries(service.regions)) {
    out.push(row("region", name, region, now));
    zones.filter(([, z]) => z.region === name).forEach(zoneRows);
  }
  const regions = service.regions || {};
  zones.filter(([, z]) => !(z.region in regions)).forEach(zoneRows);
  for (const e of shown) if (!placed.has(e[0])) out.push(row("endpoint", e[0], e[1], now));
  if (shown.length < all.length) {
    out.push(make("tr", {}, make("td", { colspan: 6, class: "why" }, `and ${all.length - shown.length} more endpoints; steerd explain NAME tells of each`)));
  }
  return out;
}

function routeRow(route) {
  const names = Object.keys({ ...route.desired, ...route.observed }).sort();
  const weights = (map) => {
    const total = Object.values(map).reduce((a, b) => a + b, 0);
    return names.map((n) => `${n} ${total ? percent((map[n] || 0) / total) : map[n] || 0}`).join(", ");
  };
  const observing = route.state === "observe";
  const word = state(route.in_sync || observing ? "healthy" : "degraded");
  word.textContent = observing ? "\u2713 not written" : route.in_sync ? "\u2713 in sync" : "! not in sync";
  const notes = [];
  if (!route.in_sync && !observing && route.desired) notes.push(`wanted: ${weights(route.desired)}`);
  if (route.drift) notes.push(`edited by someone else: ${Object.keys(route.drift).sort().join(", ")}`);
  if (route.error) notes.push(route.error);
  if (route.fence_note) notes.push(route.fence_note);
  return make("tr", {},
    make("th", { scope: "row" }, `${route.provider}/${route.name}`),
    make("td", {}, word),
    make("td", {}, route.observed ? weights(route.observed) : "not read yet"),
    make("td", { class: "why" }, notes.join("; ")));
}

const head = (...names) => make("thead", {}, make("tr", {}, ...names.map((n) => make("th", { scope: "col" }, n))));

function serviceCard(name, service, now) {
  const about = [];
  if (service.demand !== undefined && service.demand !== null) about.push(`demand ${service.demand}`);
  if (service.utilization !== undefined && service.utilization !== null) about.push(`utilization ${percent(service.utilization)}`);
  const why = service.diagnosis;
  if (why && why.kind && why.kind !== "none") about.push(`explained by ${why.kind} ${why.of}${why.label ? ` (${why.label})` : ""}`);
  const title = make("h2", {}, `${name} `);
  title.append(state(service.health));
  const card = make("article", { "aria-label": `service ${name}` }, title, make("p", { class: "about" }, about.join(" \u00b7 ")));
  card.append(make("table", {}, head("Where", "Health", "Share", "Since", "Voices", "Why"), make("tbody", {}, ...rows(service, now))));
  if ((service.routes || []).length) {
    card.append(make("table", {}, head("Route", "State", "Serves", ""), make("tbody", {}, ...service.routes.map(routeRow))));
  }
  return card;
}

// What the answering process has to say of itself and its providers: [what, text].
function troubles(status) {
  const own = status.coordinator || {};
  const found = [];
  if (own.config_problem) found.push(["config-refused", `the config on disk is not in force: ${own.config_problem}`]);
  if (own.store) found.push(["store", own.store]);
  if (own.recording) found.push(["recording", own.recording]);
  for (const [name, provider] of Object.entries(status.providers || {})) {
    if (provider.state === "failed") found.push([`provider ${name}`, `${provider.text} ${provider.action}`]);
    else if ((provider.circuit || "closed") !== "closed") {
      const again = provider.circuit === "open" ? `asked again in ${provider.again_in_s} s` : "being asked again now";
      found.push([`provider ${name}`, `the last ${provider.unanswered} calls got no answer (${provider.last_error}); ${again}, writes are tried at once`]);
    }
    if (provider.account && provider.account.paused_s) {
      found.push([`provider ${name}`, `asked us to stay away: calls go on in ${provider.account.paused_s} s`]);
    }
  }
  return found;
}

function wrongs(status) {
  const found = [];
  if (!status.leader) found.push("nobody leads");
  if (status.frozen) found.push("frozen by an operator");
  for (const [name, service] of Object.entries(status.services || {})) {
    const ill = Object.values(service.endpoints || {}).filter((e) => e.health !== "healthy" && e.health !== "unknown").length;
    if (service.health !== "healthy") found.push(`${name} is ${service.health}`);
    else if (ill) found.push(`${ill} endpoint${ill > 1 ? "s" : ""} of ${name} not healthy`);
    if ((service.routes || []).some((r) => !r.in_sync && r.state !== "observe")) found.push(`a route of ${name} is not in sync`);
  }
  for (const drain of status.drains || []) {
    if (drain.by === "automatic" && drain.cause !== "new") found.push(`${drain.name} is ${WAY[drain.phase] || "drained"}`);
  }
  const silent = Object.values(status.agents || {}).filter((a) => a.state !== "voting").length;
  if (silent) found.push(`${silent} agent${silent > 1 ? "s do" : " does"} not vote`);
  found.push(...troubles(status).map(([what]) => what));
  if (!found.length && (status.alerts || []).length) found.push(`${status.alerts.length} alert${status.alerts.length > 1 ? "s" : ""}`);
  return found;
}

function fact(name, value) {
  return make("div", {}, make("dt", {}, name), make("dd", {}, value));
}

function show(status) {
  const bad = wrongs(status);
  byId("fleet").textContent = status.fleet;
  const overall = bad.length ? state("degraded") : state("healthy");
  overall.textContent = bad.length ? `! Not well: ${bad.join("; ")}` : "\u2713 All well";
  if (byId("overall").textContent !== overall.textContent) byId("overall").replaceChildren(overall);
  document.title = `${bad.length ? "!" : "\u2713"} ${status.fleet} \u2013 steerd`;
  byId("facts").replaceChildren(
    fact("leader", status.leader ? `${status.leader.name} (epoch ${status.leader.epoch})` : "none"),
    fact("config", String(status.config_hash || "").slice(0, 12)),
    fact("as of", clock(status.time)));
  const notes = [];
  if (status.frozen) notes.push(make("p", {}, make("b", {}, "frozen "), `by ${status.frozen.by || "an operator"}: ${status.frozen.reason || ""}`));
  for (const [what, text] of troubles(status)) notes.push(make("p", {}, make("b", {}, `${what} `), text));
  for (const alert of status.alerts || []) {
    notes.push(make("p", {}, make("b", {}, `${alert.kind} ${alert.of || ""} `), alert.text || "", alert.action ? ` \u2192 ${alert.action}` : "", alert.since ? ` (for ${ago(alert.since, status.time)})` : ""));
  }
  fill("notes", byId("notes"), notes);
  byId("services").replaceChildren(...Object.entries(status.services || {}).map(([n, s]) => serviceCard(n, s, status.time)));
  const held = (status.drains || []).map((d) => [d.name, `${WAY[d.phase] || "drained"}, ${d.step || ""} out`, d]).concat((status.pins || []).map((p) => [p.name, `pin ${percent(p.share)}`, p]));
  fill("drains", byId("drains").querySelector("tbody"), held.map(([name, what, it]) => make("tr", {},
    make("th", { scope: "row" }, name), make("td", {}, what), make("td", {}, it.by || ""), make("td", {}, it.until ? clock(it.until) : "\u2013"), make("td", { class: "why" }, it.reason || ""))));
  fill("agents", byId("agents").querySelector("ul"), Object.entries(status.agents || {}).map(([name, agent]) => {
    const word = state(agent.state === "voting" ? "healthy" : "unknown");
    word.textContent = `${agent.state === "voting" ? SIGN.healthy : SIGN.unknown} ${agent.state}`;
    return make("li", {}, `${name} (${agent.zone}) `, word);
  }));
}

function fill(section, into, nodes) {
  byId(section).hidden = !nodes.length;
  into.replaceChildren(...nodes);
}

let timer = 0;
async function refresh() {
  clearTimeout(timer);
  try {
    const answer = await fetch("/v1/status", { headers: { Accept: "application/json" }, cache: "no-store", signal: AbortSignal.timeout(8000) });
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.detail || `HTTP ${answer.status}`);
    show(body);
    document.body.classList.remove("stale");
  } catch (error) {
    // What stands on the page is kept, and marked as old: an unreachable coordinator does not mean a broken fleet.
    document.body.classList.add("stale");
    byId("overall").textContent = `? No answer from the coordinator (${error.message}); what is shown below is old.`;
  }
  timer = setTimeout(refresh, POLL_MS);
}

function soon() {
  clearTimeout(timer);
  timer = setTimeout(refresh, SOON_MS);
}

function follow() {
  const source = new EventSource("/v1/events");
  source.onmessage = (message) => {
    const event = JSON.parse(message.data);
    byId("events-empty").hidden = true;
    const list = byId("events").querySelector("ol");
    list.prepend(make("li", {}, make("time", {}, clock(event.at || event.time)), make("span", {}, event.text || event.kind)));
    while (list.children.length > EVENTS_KEPT) list.lastChild.remove();
    soon();
  };
}

refresh();
follow();
