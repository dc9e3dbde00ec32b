// Dead letters by reason, one letter, and the life of one record.

import { get, place, token } from "./api.js";
import { NONE, el, facts, note, number, table, time } from "./dom.js";

const notes = (answer) => (answer.notes || []).map((text) => el("p", { class: "soft" }, text));
const hash = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;
// An id's slashes stay: its parts are names and numbers.
const letterLink = (id, words) => (place(id) ? el("a", { href: `#/letter/${place(id)}` }, words) : words);
const recordLink = (id) => {
  const whole = place(id);
  return whole ? el("a", { href: `#/record/${whole}` }, id) : id;
};

async function runs(into) {
  const answer = await get("api/runs");
  into.append(el("h2", {}, "What was done with letters"), table("Replays and other runs, the newest first", [
    { title: "Run", head: true, cell: (run) => run.id },
    { title: "What", cell: (run) => run.kind },
    { title: "State", cell: (run) => run.state },
    { title: "Handled", number: true, cell: (run) => `${number(run.counts.handled)} of ${number(run.counts.selected)}` },
    { title: "Who", cell: (run) => run.who },
    { title: "Begun", cell: (run) => time(run.started_ms) },
  ], answer.runs, "nothing yet"));
}

export async function groups(into) {
  const answer = await get("api/letters");
  into.append(
    el("p", {}, `${number(answer.open)} open, ${number(answer.handled)} handled, in ${answer.topics.join(", ")}`),
    table("Open letters by reason", [
      { title: "Reason", head: true, cell: (group) => el("a", { href: hash("letters", group.value) }, group.value) },
      { title: "In words", cell: (group) => group.words || NONE },
      { title: "Open", number: true, cell: (group) => number(group.open) },
      { title: "First", cell: (group) => time(group.first_ms) },
      { title: "Last", cell: (group) => time(group.last_ms) },
    ], answer.groups, "no open letter"),
    ...(answer.groups_left_out ? [note(`${number(answer.groups_left_out)} further groups are left out`)] : []),
    ...notes(answer),
  );
  await runs(into);
}

export async function newest(into, reason) {
  const answer = await get(`api/reasons/${encodeURIComponent(reason)}`);
  const listed = answer.letters.length;
  into.append(
    el("p", {}, listed < answer.of ? `The newest ${number(listed)} of ${number(answer.of)}` : `${number(answer.of)} open`),
    table(`Open letters: ${reason}`, [
      { title: "Letter", head: true, cell: (letter) => letterLink(letter.id, letter.id) },
      { title: "Arrived", cell: (letter) => time(letter.time_ms) },
      { title: "Failed at", cell: (letter) => letter.at || NONE },
      { title: "Detail", cell: (letter) => letter.detail || NONE },
      { title: "Replays", number: true, cell: (letter) => number(letter.replays) },
      { title: "Bytes", number: true, cell: (letter) => (letter.payload_omitted ? "left out" : number(letter.payload_bytes)) },
    ], answer.letters, "no open letter"),
    el("p", { class: "row" }, el("a", { class: "button", href: hash("replay", reason) }, "Send these again\u2026")),
    ...notes(answer),
  );
}

function head(letter) {
  const ours = letter.kind === "longshore";
  return facts([
    ["State", letter.state],
    ["Reason", letter.reason_words ? `${letter.reason}: ${letter.reason_words}` : letter.reason || "no header says why"],
    ["Failed at", letter.at],
    ["Detail", letter.detail],
    ["Record", letter.origin ? recordLink(letter.origin) : "no header says where it stood"],
    ["Published", letter.origin_timestamp_ms >= 0 ? time(letter.origin_timestamp_ms) : null],
    ["Written by", ours ? null : letter.kind],
    ["First failed", ours ? time(letter.first_failed_ms) : null],
    ["Last failed", ours ? time(letter.last_failed_ms) : null],
    ["Arrived", time(letter.time_ms)],
    ["Attempts", letter.attempt === null ? null : number(letter.attempt)],
    ["Replays", letter.replays === null ? null : number(letter.replays)],
    ["Failed by", letter.version],
    ["Key", letter.key_and_headers_omitted ? "left out: too large for this topic" : letter.key],
  ]);
}

function body(letter) {
  const bytes = letter.payload_bytes === null ? "" : ` (${number(letter.payload_bytes)} bytes)`;
  return [
    el("h2", {}, "Headers"),
    table("The record's own headers", [
      { title: "Name", head: true, cell: (header) => header.name },
      { title: "Value", cell: (header) => header.value },
    ], letter.headers, "none"),
    el("h2", {}, `Payload${bytes}`),
    letter.payload_omitted
      ? note("Left out: too large for this topic; the record stands where it was read.")
      : el("pre", { tabindex: "0", "aria-label": "Payload" }, letter.payload),
  ];
}

export async function letter(into, id, raw = false) {
  const found = await get(`api/letters/${id}${raw ? "?raw" : ""}`);
  const again = async (asIs) => {
    const fresh = el("div", {});
    await letter(fresh, id, asIs).catch((error) => fresh.append(note(error.message, "bad")));
    into.replaceChildren(...fresh.childNodes);
    into.querySelector("[data-raw]")?.focus();
  };
  const look = found.masked
    ? el("button", { type: "button", "data-raw": true, disabled: !token.get(), onclick: () => again(true) }, "Show texts and numbers")
    : el("button", { type: "button", "data-raw": true, onclick: () => again(false) }, "Mask texts and numbers");
  const single = `letter.topic == '${found.id.split("/")[0]}' && letter.partition == ${found.id.split("/")[1]} && letter.offset == ${found.id.split("/")[2]}`;
  into.append(
    el("div", { class: "sheet" }, head(found)),
    el("div", { class: "row" }, look,
      el("a", { class: "button", href: hash("replay", found.reason, single) }, "Send this one again\u2026"),
      found.masked && !token.get() ? el("span", { class: "soft" }, "Masked, since they may be secret; the token shows them.") : null),
    ...body(found),
    ...notes(found),
  );
  const life = el("section", { "aria-label": "Life of the record" }, el("h2", {}, "Its life"));
  into.append(life);
  // Told by the place of the letter: that is known even when no header says where the record stood.
  await story(life, id).catch((error) => life.append(note(error.message, error.status === 404 ? "" : "bad")));
}

export async function story(into, id) {
  const told = await get(`api/why/${id}${token.get() ? "?raw" : ""}`);
  const now = told.now.length === 1 ? told.now[0] : el("ol", { class: "life" }, told.now.map((text) => el("li", {}, text)));
  const settled = told.settled ? "this record is settled" : "this record is not settled";
  into.append(
    el("div", { class: "sheet" }, facts([
      ["Record", told.record],
      ["Asked for", told.asked_for === "record" ? null : `a ${told.asked_for} of it`],
      ["Published", told.published || "the record itself is not in the log"],
      ["Key", told.key],
      ["Payload", told.payload],
      ["Now", now],
      ["Group", `committed ${told.committed === null ? "nothing" : number(told.committed)} of ${number(told.end)}; ${settled}`],
      ["Steps", told.computed_now ? `${told.computed_now} (computed now)` : null],
    ])),
    el("ol", { class: "life" }, told.life.map((event) => el("li", {}, time(event.time_ms), ` ${event.what}`))),
    ...notes(told),
  );
}

export async function record(into, id) {
  const input = el("input", { id: "record-id", name: "id", required: true, spellcheck: "false", autocomplete: "off", placeholder: "logs.raw/3/42" });
  if (id) input.value = decodeURIComponent(id);
  const said = el("p", { class: "bad", role: "alert" });
  const ask = (event) => {
    event.preventDefault();
    const whole = place(input.value);
    said.textContent = whole ? "" : "Write TOPIC/PARTITION/OFFSET: of a record, of its copy in the retry topic, or of its letter.";
    if (whole) location.hash = `#/record/${whole}`;
  };
  into.append(el("form", { class: "sheet", onsubmit: ask },
    el("label", { class: "field" }, "TOPIC/PARTITION/OFFSET of a record, of its copy in the retry topic, or of its letter", input),
    el("p", { class: "row" }, el("button", {}, "Tell its life")), said));
  if (id) await story(into, id);
}
