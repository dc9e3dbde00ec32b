// The fleet as any of its workers sees it.

import { quick } from "./api.js";
import { History, draw } from "./chart.js";
import { NONE, bytes, el, note, number, span, table, tiles } from "./dom.js";

const EVERY_MS = 2000;
const history = new History();
const order = { title: "Lag", down: true };
let latest = null;
let trouble = null;
let shown = null;

function totals(fleet) {
  const all = fleet.totals || {};
  const answering = all.answering === all.workers ? "all answer" : `${number(all.answering)} answer`;
  return tiles([
    ["Behind", span(all.seconds_behind), `${number(all.lag)} records`],
    ["Rate", number(all.rate, 1), "records a second"],
    ["Time to drain", span(all.drain_seconds)],
    ["Wait for a retry", number(all.waiting), `of ${number(all.parked)} keys; ${number(all.retries)} tries handed over`],
    ["Dead letters", number(all.dead_letters), "since the workers began"],
    ["Memory", bytes(all.memory), `of ${bytes(all.budget)} in all`],
    ["Workers", number(all.workers), answering],
    ["Group", fleet.group_state || NONE, fleet.group],
  ]);
}

// The places where records end; a try that is handed over is none yet.
const PLACES = { sunk: "in a sink", filtered: "filtered", dead: "dead letter", already_held: "held already" };

function outcomes(fleet) {
  const counts = fleet.outcomes || {};
  const all = Object.entries(PLACES).map(([name, words]) => [words, counts[name] || 0]);
  const sum = all.reduce((total, [, count]) => total + count, 0);
  const share = ([name, count]) => (sum ? el("meter", { min: 0, max: sum, value: count, "aria-label": `share of ${name}` }) : NONE);
  return table("Records by outcome, since the workers began", [
    { title: "Outcome", head: true, cell: ([name]) => name },
    { title: "Records", number: true, cell: ([, count]) => number(count) },
    { title: "Share", cell: share },
  ], all, "nothing has ended yet");
}

function workers(fleet) {
  return table("Workers", [
    { title: "Worker", head: true, cell: (worker) => worker.name || worker.client_id || NONE },
    { title: "State", cell: (worker) => (worker.answers ? worker.state : el("span", { class: "bad" }, "does not answer")) },
    { title: "Partitions", number: true, cell: (worker) => number(worker.partitions) },
    { title: "Rate/s", number: true, cell: (worker) => number(worker.rate, 1) },
    { title: "In flight", number: true, cell: (worker) => number(worker.in_flight) },
    { title: "Memory", number: true, cell: (worker) => `${bytes(worker.memory)} of ${bytes(worker.budget)}` },
    { title: "Up", number: true, cell: (worker) => span(worker.uptime_seconds) },
    { title: "Version", cell: (worker) => worker.version || NONE },
  ], fleet.workers || [], "no worker is a member of the group");
}

const COLUMNS = [
  { title: "Partition", head: true, cell: (part) => `${part.topic}/${part.partition}`, sort: (part) => `${part.topic}/${String(part.partition).padStart(9, "0")}` },
  { title: "Lag", number: true, cell: (part) => number(part.lag), sort: (part) => part.lag },
  { title: "Behind", number: true, cell: (part) => span(part.seconds_behind), sort: (part) => part.seconds_behind },
  { title: "Rate/s", number: true, cell: (part) => number(part.rate, 1), sort: (part) => part.rate },
  { title: "To drain", number: true, cell: (part) => span(part.drain_seconds), sort: (part) => part.drain_seconds },
  { title: "Retries", number: true, cell: (part) => number(part.retries), sort: (part) => part.retries },
  { title: "Waiting", number: true, cell: (part) => number(part.waiting), sort: (part) => part.waiting },
  { title: "Parked", number: true, cell: (part) => number(part.parked), sort: (part) => part.parked },
  { title: "Letters", number: true, cell: (part) => number(part.dead_letters), sort: (part) => part.dead_letters },
  { title: "Held", cell: (part) => (part.held ? el("span", { class: "bad" }, part.held) : NONE), sort: (part) => part.held || "" },
  { title: "Worker", cell: (part) => part.worker || el("span", { class: "bad" }, "nobody"), sort: (part) => part.worker || "" },
];

function partitions(fleet) {
  const by = COLUMNS.find((column) => column.title === order.title).sort;
  const value = (part) => by(part) ?? -1;
  const rows = [...(fleet.partitions || [])].sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0));
  if (order.down) rows.reverse();
  return table("Partitions", COLUMNS, rows, "no partitions", {
    ...order,
    by(title) {
      Object.assign(order, { down: order.title === title ? !order.down : title !== "Partition", title });
      render();
    },
  });
}

// Redrawn every other second: what has the keyboard's focus keeps it, and tables stay where they were scrolled to.
function render() {
  if (!shown || !shown.isConnected) return;
  const regions = () => [...shown.querySelectorAll("[role=region]")];
  const key = (node) => node && [node.closest("[role=region]")?.getAttribute("aria-label"), node.tagName, node.tagName === "BUTTON" ? node.textContent : ""].join("|");
  const focus = shown.contains(document.activeElement) ? key(document.activeElement) : null;
  const scrolled = regions().map((region) => [region.getAttribute("aria-label"), region.scrollLeft]);
  shown.replaceChildren(...content());
  for (const region of regions()) {
    region.scrollLeft = (scrolled.find(([label]) => label === region.getAttribute("aria-label")) || [])[1] || 0;
  }
  if (focus) [...shown.querySelectorAll("button, [tabindex]")].find((node) => key(node) === focus)?.focus({ preventScroll: true });
}

function content() {
  const said = trouble ? [note(trouble, "bad")] : [];
  if (!latest) return said.length ? said : [note("Asking the fleet\u2026")];
  return [
    ...said,
    totals(latest),
    el("h2", {}, "Lag in seconds"),
    el("div", { class: "sheet" }, draw(history, Math.max(280, shown.clientWidth - 30))),
    el("h2", {}, "What became of records"),
    outcomes(latest),
    el("h2", {}, "Who works on what"),
    workers(latest),
    el("h2", {}, "Where it stands"),
    partitions(latest),
  ];
}

async function look() {
  try {
    latest = await quick("fleet");
    trouble = null;
    const behind = latest.totals?.seconds_behind;
    history.add(Date.now(), Number.isFinite(behind) ? behind : null);
  } catch (error) {
    trouble = `The fleet cannot be seen: ${error.message}`;
    history.add(Date.now(), null);
  }
  render();
}

// Looks on in the background too, so that the curve has no gap, but once at a time.
export async function watch() {
  for (;;) {
    await look();
    await new Promise((done) => setTimeout(done, EVERY_MS));
  }
}

export function show(into) {
  shown = el("div", {});
  into.append(shown);
  render();
}

addEventListener("resize", render);
