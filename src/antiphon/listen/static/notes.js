// All notes of the run, what is marked, and both as files.

import { get } from "./api.js";
import { $, complain, el, replace, when } from "./dom.js";
import { rowList } from "./rows.js";
import { link, on, state } from "./state.js";

let room;
let asked = 0;

async function load() {
  if (state.tab !== "notes") return;
  const mine = ++asked;
  try {
    const marked = room.sources.map(({ key }) => get("/api/rows", { source: key, marked: 1, sort: "track", order: "asc", size: 100 }));
    const [notes, ...found] = await Promise.all([get("/api/notes"), ...marked]);
    if (mine !== asked) return;
    replace($("notes-all"), notes.length ? table(notes) : el("p", { class: "note" },
      "Nothing is written yet. Listen to a feature's top segments, then say in its tab what it responds to."));
    const rows = found.flatMap((answer) => answer.rows);
    const names = room.sources.length > 1 ? Object.fromEntries(room.sources.map(({ key, name }) => [key, name])) : null;
    replace($("marks"), rows.length ? rowList(rows, { sources: names }) : el("p", { class: "note" },
      "Nothing is marked yet: press m while a segment plays."));
  } catch (error) {
    if (mine === asked) complain(error);
  }
}

const table = (notes) => el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Notes" },
  el("table", { class: "small notes" },
    el("thead", {}, el("tr", {}, ["Feature", "Responds to", "By"].map((words) => el("th", { scope: "col" }, words)))),
    el("tbody", {}, [...notes].sort((a, b) => a.feature - b.feature).map((note) => el("tr", {},
      el("th", { scope: "row" }, el("a", { href: link({ tab: "feature", feature: note.feature }) }, `Feature ${note.feature}`)),
      el("td", {}, note.text),
      el("td", {}, note.by || "somebody", el("span", { class: "about" }, when(note.at))))))));

export function start(theRoom) {
  room = theRoom;
  on("state", (changed) => changed.has("tab") && load());
  on("note", load);
  on("mark", load);
  load();
}
