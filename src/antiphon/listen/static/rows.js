// A list of segments: what the feature's top, the neighbours and the marks are shown as.

import { bar, clock, el, icon, value } from "./dom.js";
import { markButton } from "./marks.js";
import { itemsOf, nameOf, play } from "./player.js";
import { emit } from "./state.js";

export const span = (row) => `${clock(row.start)} – ${clock(row.start + row.seconds)}`;

/** A track in a folder is called after both: the folder is named beside it, once. */
export const titleOf = (row) =>
  row.group && row.title.startsWith(`${row.group}/`) ? row.title.slice(row.group.length + 1) : row.title;

export function playButton(items, n, options) {
  const { row } = items[n];
  return el("button", {
    type: "button", class: "round play", "data-play": nameOf(items[n]), "data-focus": `play ${nameOf(items[n])}`,
    "aria-pressed": "false", "aria-label": `Play ${row.title}, segment ${row.number + 1}`,
    onclick: () => play(items, n, options),
  }, icon("play"));
}

export const labelsOf = (row) =>
  row.labels?.length
    ? el("span", { class: "labels" }, row.labels.map((label) => el("span", { class: "label" }, label)))
    : null;

/**
 * An ordered list of segments, each with its player.
 * `figure(row)` is the number beside it, `of` its name; bars are shares of the largest.
 */
export function rowList(rows, { figure, of, sources = null } = {}) {
  if (!rows.length) return el("p", { class: "note" }, "None.");
  const items = itemsOf(rows);
  const largest = figure ? Math.max(...rows.map((row) => Math.abs(figure(row) ?? 0)), 1e-9) : 1;
  const list = el("ol", { class: "rows" }, rows.map((row, n) =>
    el("li", {},
      playButton(items, n),
      el("div", { class: "what" },
        el("span", { class: "title" }, titleOf(row)),
        el("span", { class: "about" }, [row.group, span(row), sources?.[row.source]].filter(Boolean).join(" · "), " "),
        labelsOf(row)),
      figure && el("div", { class: "figure" },
        el("span", {}, el("span", { class: "unseen" }, `${of}: `), value(figure(row))),
        bar(Math.abs(figure(row) ?? 0) / largest, figure(row) < 0 ? "below" : "")),
      markButton(row))));
  queueMicrotask(() => emit("rendered"));
  return list;
}
