// Letters sent again: the plan first, and only then, with the token, the run.

import { get, post, token } from "./api.js";
import { el, facts, note, number, table } from "./dom.js";

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const REFUSED = [
  ["already_held", "held by the ledger already: noted as handled, not sent"],
  ["too_often", "replayed three times or more already"],
  ["without_payload", "without their payload, which was too large for the topic"],
  ["no_origin", "whose origin is no place of the pipeline's input"],
  ["transform_failed", "that the transform fails on"],
];

function field(label, input, more) {
  return el("label", { class: more || null }, label, input);
}

// Reasons as they were typed; that of a link as it is, for another tool's may hold spaces. `(none)` are the letters that say none.
function reasons({ value, defaultValue }) {
  const listed = value === defaultValue ? [value].filter(Boolean) : value.split(/[,\s]+/).filter(Boolean);
  return listed.map((reason) => (reason === "(none)" ? "" : reason));
}

function request(form) {
  const text = (name) => form.elements[name].value.trim() || null;
  const whole = (name) => (text(name) === null ? null : Number(text(name)));
  const asked = { reasons: reasons(form.elements.reason), to: form.elements.to.value };
  for (const [name, value] of [["where", text("where")], ["since", text("since")], ["until", text("until")], ["limit", whole("limit")], ["rate", whole("rate")]]) {
    if (value !== null) asked[name] = value;
  }
  return asked;
}

function told(plan) {
  const counts = plan.counts;
  const reasons = Object.entries(counts.by_reason || {});
  const left = REFUSED.filter(([name]) => counts[name] > 0).map(([name, words]) => ["Left out", `${number(counts[name])} ${words}`]);
  if (plan.condition_failed > 0) left.push(["Left out", `${number(plan.condition_failed)} for which the condition cannot be evaluated`]);
  const rate = plan.rate ? `${number(plan.rate)} a second, so about ${number(Math.ceil(counts.selected / plan.rate))} s` : "as fast as the broker takes them";
  return [
    el("p", {}, el("strong", { id: "plan-count" }, `${number(counts.selected)} ${counts.selected === 1 ? "letter" : "letters"}`), ` of ${number(plan.open)} open would be sent.`),
    facts([
      ...Object.entries(plan.targets).map(([topic, count]) => ["To", `${topic}: ${number(count)}`]),
      ["Rate", rate],
      ...left,
      ["Ledger", plan.ledger_read ? null : "cannot be read from here: what is held already is not known"],
      ["Repeats", plan.idempotent
        ? "the same records again: what the ledger holds is dropped"
        : "NOT idempotent: each becomes a new record, which no ledger knows"],
    ]),
    table("What would be sent", [
      { title: "Reason", head: true, cell: ([reason]) => reason },
      { title: "Letters", number: true, cell: ([, count]) => number(count) },
    ], reasons, "no letter"),
    ...(plan.condition_failures || []).map((text) => el("p", { class: "soft" }, text)),
    ...(plan.notes || []).map((text) => el("p", { class: "soft" }, text)),
  ];
}

async function follow(into, run) {
  const said = el("p", { class: "note", role: "status", id: "run" });
  into.replaceChildren(said);
  for (let now = run; ; ) {
    const [handled, selected] = [number(now.counts.handled), number(now.counts.selected)];
    said.textContent = `Replay ${now.id} is ${now.state}: ${handled} of ${selected} sent and confirmed.`;
    if (now.state !== "running" && now.state !== "planning") {
      said.classList.add(now.state === "done" ? "good" : "bad");
      if (now.state === "stopped") said.textContent += ` Go on with it: longshore dlq replay resume -c PIPELINE ${now.id}`;
      return;
    }
    await pause(1000);
    if (!said.isConnected) return;
    now = await get(`api/runs/${encodeURIComponent(now.id)}`).catch(() => now);
  }
}

export function form(into, session, reason, where) {
  const result = el("section", { "aria-label": "Plan", "aria-live": "polite" });
  const start = (plan) => async (event) => {
    event.target.disabled = true;
    try {
      const answer = await post("api/replay", { ...plan.request, plan: plan.plan });
      if (answer.run) await follow(result, answer.run);
      else result.replaceChildren(note("There is nothing to send."));
    } catch (error) {
      const now = error.body?.now;
      if (now) plans(now);
      result.prepend(note(error.message, "bad"));
    }
  };
  const plans = (plan) => {
    const may = session.holder && plan.sendable;
    const words = plan.counts.selected === 1 ? "Send 1 letter" : `Send ${number(plan.counts.selected)} letters`;
    const why = session.read_only
      ? "This console is read-only: the pipeline sets no token (http.console.token)."
      : session.holder ? null : "Sending needs the token: type it in above.";
    result.replaceChildren(
      el("h2", { tabindex: "-1" }, "The plan: nothing is sent yet"),
      ...told(plan),
      el("p", { class: "row" }, el("button", { type: "button", id: "start", disabled: !may, onclick: start(plan) }, words), why ? el("span", { class: "soft" }, why) : null),
    );
    result.querySelector("h2").focus();
  };
  const ask = async (event) => {
    event.preventDefault();
    result.replaceChildren(note("Looking at all letters\u2026"));
    try {
      plans(await post("api/replay/plan", request(event.target)));
    } catch (error) {
      result.replaceChildren(note(error.message, "bad"));
    }
  };
  const input = (name, attributes) => el("input", { name, autocomplete: "off", spellcheck: "false", ...attributes });
  const condition = input("where", { placeholder: "letter.at == 'parse'", disabled: !token.get() });
  if (where && token.get()) condition.value = where;
  const codes = input("reason", { placeholder: "any", value: reason });
  into.append(
    where && !token.get() ? note("One letter is chosen by a condition, and conditions need the token: how many letters one holds for tells what is in them.") : "",
    el("form", { class: "sheet fields", onsubmit: ask },
      field("Reason codes, with spaces between", codes),
      field("Arrived at or after (2h, or a time)", input("since", {})),
      field("Arrived before (10m, or a time)", input("until", {})),
      field("At most so many letters", input("limit", { type: "number", min: 1, inputmode: "numeric" })),
      field("At most so many a second", input("rate", { type: "number", min: 1, inputmode: "numeric", value: 100 })),
      field("Where to", el("select", { name: "to" },
        el("option", { value: "retry" }, "retry: the same records again"),
        el("option", { value: "input" }, "input: new records"))),
      field("Condition (CEL) over the letter and the record in it; needs the token", condition, "wide"),
      el("p", { class: "row wide" }, el("button", {}, "Show what would be sent"))),
    result,
  );
}
