// Which view is shown, and who looks.

import { get, token } from "./api.js";
import { el, note } from "./dom.js";
import * as fleet from "./fleet.js";
import * as letters from "./letters.js";
import * as replay from "./replay.js";

const at = (id) => document.getElementById(id);
let session = { read_only: true, holder: false };
let views = 0;

const VIEWS = {
  fleet: () => ["The fleet", (into) => fleet.show(into)],
  letters: ([reason]) => (reason
    ? [`Dead letters: ${reason}`, (into) => letters.newest(into, reason)]
    : ["Dead letters", (into) => letters.groups(into)]),
  letter: (parts) => [`Letter ${parts.join("/")}`, (into) => letters.letter(into, parts.map(encodeURIComponent).join("/"))],
  record: (parts) => (parts[0]
    ? [`Record ${parts.join("/")}`, (into) => letters.record(into, parts.map(encodeURIComponent).join("/"))]
    : ["The life of one record", (into) => letters.record(into, null)]),
  replay: ([reason, where]) => ["Send letters again", (into) => replay.form(into, session, reason, where)],
};

function asked() {
  const parts = location.hash.replace(/^#\/?/, "").split("/");
  try {
    const [view, ...rest] = parts.map(decodeURIComponent);
    return Object.hasOwn(VIEWS, view) ? [view, rest] : ["fleet", []];
  } catch {
    return ["fleet", []];
  }
}

async function show(moveFocus) {
  const [view, parts] = asked();
  const [title, draw] = VIEWS[view](parts);
  const own = ++views;
  for (const link of document.querySelectorAll("nav a")) {
    const current = link.dataset.view === view || (view === "letter" && link.dataset.view === "letters");
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${title} \u00b7 ${session.pipeline || "Longshore"}`;
  const heading = el("h1", { tabindex: "-1" }, title);
  const body = el("div", {});
  at("main").replaceChildren(heading, body);
  if (moveFocus) heading.focus();
  const waiting = view === "fleet" || view === "replay" ? null : note("Looking\u2026");
  if (waiting) body.append(waiting);
  try {
    await draw(body);
  } catch (error) {
    if (own === views) body.append(note(error.message, "bad"));
  }
  waiting?.remove();
}

function access() {
  const [state, label, button] = [at("access-state"), at("token-label"), at("access-button")];
  label.hidden = session.read_only || session.holder;
  button.hidden = session.read_only;
  button.textContent = session.holder ? "Forget the token" : "Use the token";
  state.textContent = session.read_only ? "read-only" : session.holder ? "with the token" : "";
}

async function enter() {
  try {
    session = await get("api/console");
  } catch (error) {
    if (error.status !== 401) throw error;
    token.set(null);
    session = { ...(await get("api/console")), refused: true };
  }
  at("pipeline").textContent = session.pipeline;
  at("foot").textContent = `Pipeline version ${session.pipeline_version}, Longshore ${session.version}`;
  access();
  if (session.refused) at("access-state").textContent = "that token is not right";
}

at("access").addEventListener("submit", async (event) => {
  event.preventDefault();
  token.set(session.holder ? null : at("token").value.trim());
  at("token").value = "";
  await enter().catch((error) => { at("access-state").textContent = error.message; });
  await show(false);
});

addEventListener("hashchange", () => show(true));

// The link that skips to the content is no view, so the address stays.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  at("main").focus();
});

enter()
  .catch((error) => at("main").replaceChildren(note(error.message, "bad")))
  .finally(() => {
    show(false);
    fleet.watch();
  });
