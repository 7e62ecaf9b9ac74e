// What sounds alike to the encoder: neighbours of what is playing, beside every view.

import { get } from "./api.js";
import { $, complain, el, replace } from "./dom.js";
import { keyOf } from "./marks.js";
import { current } from "./player.js";
import { rowList } from "./rows.js";
import { on } from "./state.js";

let room;
let asked = 0;
let shown = "";

async function load(item) {
  const mine = ++asked;
  if (item?.kind === "blind") return clear();
  if (item?.kind !== "segment") return item ? undefined : clear();
  const { source, id, title } = item.row;
  if (keyOf(item.row) === shown) return;
  try {
    const { rows } = await get("/api/neighbours", { source, id, count: 8 });
    if (mine !== asked || current()?.kind === "blind") return;
    shown = keyOf(item.row);
    $("neighbours-of").textContent = `of ${title}, by other tracks`;
    const names = room.sources.length > 1 ? Object.fromEntries(room.sources.map((one) => [one.key, one.name])) : null;
    replace($("neighbours"), rowList(rows, { figure: (row) => row.similarity, of: "Similarity", sources: names }));
  } catch (error) {
    if (mine === asked) complain(error);
  }
}

function clear() {
  shown = "";
  $("neighbours-of").textContent = "";
  replace($("neighbours"), el("p", { class: "note" }, "Play something: what sounds alike to the encoder comes here."));
}

export function start(theRoom) {
  room = theRoom;
  clear();
  on("playing", load);
}
