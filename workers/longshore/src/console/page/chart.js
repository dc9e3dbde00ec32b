// The fleet's lag over time, drawn as one curve. What is kept is bounded by its age.

import { span, svg } from "./dom.js";

export const KEPT_MS = 15 * 60 * 1000;
const HEIGHT = 180;
const EDGE = { left: 64, right: 12, top: 12, bottom: 24 };
const STEPS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400];

export class History {
  points = [];

  add(at, seconds) {
    this.points.push({ at, seconds });
    this.points = this.points.filter((point) => point.at > at - KEPT_MS);
  }

  said() {
    const known = this.points.filter((point) => point.seconds !== null).map((point) => point.seconds);
    if (known.length === 0) return "Lag over time: nothing is known yet";
    const minutes = Math.ceil((this.points.at(-1).at - this.points[0].at) / 60000);
    const most = Math.max(...known);
    return `Lag over time: ${span(known.at(-1))} now, at most ${span(most)} in the last ${minutes} min`;
  }
}

const top = (most) => {
  const step = STEPS.find((candidate) => candidate * 4 >= most) || Math.ceil(most / 4);
  return step * 4;
};

// Pieces without gaps: what was not known is no line.
function pieces(points) {
  const all = [[]];
  for (const point of points) {
    if (point.seconds === null) all.push([]);
    else all.at(-1).push(point);
  }
  return all.filter((piece) => piece.length > 0);
}

export function draw(history, width) {
  const now = history.points.length ? history.points.at(-1).at : Date.now();
  const most = top(Math.max(1, ...history.points.map((point) => point.seconds || 0)));
  // The axis grows with what is known, so that the first minutes are no line at the edge.
  const range = Math.min(KEPT_MS, Math.max(120000, now - (history.points[0]?.at ?? now)));
  const [inner, floor] = [width - EDGE.left - EDGE.right, HEIGHT - EDGE.bottom];
  const x = (at) => (EDGE.left + inner * (1 - (now - at) / range)).toFixed(1);
  const y = (seconds) => (floor - (floor - EDGE.top) * (seconds / most)).toFixed(1);
  const drawn = [];
  for (let part = 0; part <= 4; part += 1) {
    const value = (most * part) / 4;
    drawn.push(svg("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value) }));
    drawn.push(svg("text", { x: EDGE.left - 8, y: Number(y(value)) + 4, "text-anchor": "end" }, span(value)));
  }
  for (const [share, anchor] of [[1, "start"], [0.5, "middle"], [0, "end"]]) {
    const words = share ? `${span((range * share) / 1000)} ago` : "now";
    drawn.push(svg("text", { x: x(now - range * share), y: HEIGHT - 6, "text-anchor": anchor }, words));
  }
  for (const piece of pieces(history.points)) {
    const line = piece.map((point) => `${x(point.at)},${y(point.seconds)}`).join(" L");
    const [first, last] = [x(piece[0].at), x(piece.at(-1).at)];
    drawn.push(svg("path", { class: "under", d: `M${first},${floor} L${line} L${last},${floor} Z` }));
    drawn.push(svg("path", { class: "curve", d: `M${line}${piece.length === 1 ? ` h0.1` : ""}` }));
  }
  const box = { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": history.said() };
  return svg("svg", box, drawn);
}
