// Marks: one button for them all, wherever a segment is shown.

import { put } from "./api.js";
import { announce, complain, el, icon } from "./dom.js";
import { emit, on, state } from "./state.js";

export const keyOf = (row) => `${row.source}:${row.id}`;

const known = new Map(); // what was changed here since the rows were asked for

export const isMarked = (row) => known.get(keyOf(row)) ?? Boolean(row.marked);

/** Mark a segment, or take its mark away. */
export async function toggleMark(row) {
  const marked = !isMarked(row);
  const feature = marked && state.feature !== "" ? Number(state.feature) : null; // none: all its marks go
  try {
    await put(`/api/marks/${row.source}/${row.id}`, { marked, feature });
  } catch (error) {
    complain(error);
    return;
  }
  known.set(keyOf(row), marked);
  announce(`${row.title} is ${marked ? "marked" : "not marked any more"}.`);
  emit("mark", { row, marked });
}

export function markButton(row) {
  return el("button", {
    type: "button", class: "round mark", "data-mark": keyOf(row), "data-focus": `mark ${keyOf(row)}`,
    "aria-pressed": String(isMarked(row)), "aria-label": `Mark ${row.title}, segment ${row.number + 1}`,
    onclick: () => toggleMark(row),
  }, icon("mark"));
}

on("mark", ({ row, marked }) => {
  for (const button of document.querySelectorAll(`[data-mark="${keyOf(row)}"]`)) {
    button.setAttribute("aria-pressed", String(marked));
  }
});
