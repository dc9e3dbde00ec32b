// Elements, and values as people read them. Text goes in as text nodes alone: nothing that a record says is markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

export const NONE = "\u2013";

export function number(value, digits = 0) {
  if (value === null || value === undefined) return NONE;
  return Number(value).toLocaleString("en", { maximumFractionDigits: digits });
}

export function span(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 10) return `${number(seconds, 1)} s`;
  if (seconds < 120) return `${number(seconds)} s`;
  if (seconds < 7200) return `${number(Math.floor(seconds / 60))} min ${number(Math.floor(seconds % 60))} s`;
  if (seconds < 172800) return `${number(Math.floor(seconds / 3600))} h ${number(Math.floor((seconds % 3600) / 60))} min`;
  return `${number(Math.floor(seconds / 86400))} d ${number(Math.floor((seconds % 86400) / 3600))} h`;
}

export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  const units = ["B", "KiB", "MiB", "GiB"];
  let at = 0;
  for (; value >= 1024 && at < units.length - 1; at += 1) value /= 1024;
  return `${number(value, at && value < 10 ? 1 : 0)} ${units[at]}`;
}

// In UTC and to the second, as the commands print it.
export function time(ms) {
  if (!Number.isFinite(ms) || ms < 0) return el("span", {}, NONE);
  const text = new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
  return el("time", { datetime: text }, text.replace("T", " "));
}

// A table: columns are { title, cell, number, head, sort }, `sort` being the value to sort by.
export function table(caption, columns, rows, empty, order) {
  const head = columns.map((column) => {
    const sorted = order && column.sort && order.title === column.title;
    const title = column.sort && order
      ? el("button", { type: "button", onclick: () => order.by(column.title) }, column.title)
      : column.title;
    const direction = sorted ? (order.down ? "descending" : "ascending") : null;
    return el("th", { scope: "col", class: column.number ? "number" : null, "aria-sort": direction }, title);
  });
  const body = rows.map((row) => el("tr", {}, columns.map((column) => {
    const kind = column.number ? "number" : null;
    return column.head ? el("th", { scope: "row" }, column.cell(row)) : el("td", { class: kind }, column.cell(row));
  })));
  if (body.length === 0) body.push(el("tr", {}, el("td", { colspan: columns.length, class: "soft" }, empty)));
  const inner = el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, head)), el("tbody", {}, body));
  return el("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" }, inner);
}

export const tiles = (list) => el("dl", { class: "tiles" }, list.map(([name, value, more]) =>
  el("div", {}, el("dt", {}, name), el("dd", {}, value, more ? el("small", {}, more) : null))));

export const facts = (list) => el("dl", { class: "facts" }, list
  .filter(([, value]) => value !== null && value !== undefined && value !== "")
  .map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));

export const note = (text, kind = "") => el("p", { class: `note ${kind}`, role: kind === "bad" ? "alert" : "status" }, text);
