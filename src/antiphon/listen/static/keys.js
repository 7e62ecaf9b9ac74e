// The keyboard: one key an act, never while somebody types.

import { $ } from "./dom.js";
import { answerCurrent } from "./blind.js";
import * as player from "./player.js";
import { set } from "./state.js";

const typing = (node) =>
  node.closest("textarea, select, [contenteditable]") ||
  (node.matches("input") && !["radio", "checkbox"].includes(node.type));

const pressed = (node) => node.closest("button, a, summary, input, [role=option]");

function search() {
  set({ tab: "table" });
  $("search").focus();
  $("search").select();
}

const ACTS = {
  n: () => player.step(1), j: () => player.step(1), p: () => player.step(-1), k: () => player.step(-1),
  m: player.mark, "/": search, "?": () => $("help").showModal(),
  f: () => { $("feature-number").focus(); $("feature-number").select(); },
  y: () => answerCurrent(player.current(), true), x: () => answerCurrent(player.current(), false),
};

export function start() {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (typing(event.target)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if ($("help").open) return;
    if (event.key === " ") {
      if (pressed(event.target)) return;
      event.preventDefault();
      player.toggle();
    } else if (event.key in ACTS) {
      event.preventDefault();
      ACTS[event.key]();
    }
  });
  $("help-open").addEventListener("click", () => $("help").showModal());
  $("help-close").addEventListener("click", () => $("help").close());
}
