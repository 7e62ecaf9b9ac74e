// What sounds alike to the encoder: neighbours of what is playing, beside every view.

import { get } from "./api.js";
import { $, complain, el, replace } from "./dom.js";
import { keyOf } from "./marks.js";
import { current } from "./player.js";
import { rowList, titleOf } from "./rows.js";
import { on } from "./state.js";

let asked = 0;
let shown = "";

async function load(item) {
  const mine = ++asked;
  if (item?.kind !== "segment") return clear(item?.kind === "drop" ? "Those of your file stand in its view." : undefined);
  const { source, id } = item.row;
  if (keyOf(item.row) === shown) return;
  try {
    const { rows } = await get("/api/neighbours", { source, id, count: 8 });
    if (mine !== asked || current()?.kind === "blind") return;
    shown = keyOf(item.row);
    $("neighbours-of").textContent = `of ${titleOf(item.row)}, by other tracks`;
    replace($("neighbours"), rowList(rows, { figure: (row) => row.similarity, of: "Similarity" }));
  } catch (error) {
    if (mine === asked) complain(error);
  }
}

function clear(words = "Play something: what sounds alike to the encoder comes here.") {
  shown = "";
  $("neighbours-of").textContent = "";
  replace($("neighbours"), el("p", { class: "note" }, words));
}

export function start() {
  clear();
  on("playing", load);
}
