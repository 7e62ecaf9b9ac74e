// The page: which view is shown, which feature is chosen, and the start of every part.

import { get } from "./api.js";
import * as blind from "./blind.js";
import { $, announce, complain, count, plural } from "./dom.js";
import * as drop from "./drop.js";
import * as feature from "./feature.js";
import * as keys from "./keys.js";
import * as map from "./map.js";
import * as neighbours from "./neighbours.js";
import * as notes from "./notes.js";
import { on, set, state, TABS } from "./state.js";
import * as table from "./table.js";

const NAMES = { table: "Table", feature: "Feature", map: "Map", blind: "Blind", notes: "Notes", file: "Your file" };

let room;

function views() {
  const hidden = blind.isOpen() && state.tab !== "blind";
  for (const tab of TABS) {
    $(`view-${tab}`).hidden = hidden || tab !== state.tab;
    const link = $(`to-${tab}`);
    if (tab === state.tab) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  $("hidden-view").hidden = !hidden;
  $("aside").hidden = blind.isOpen();
  $("chooser").disabled = blind.isOpen();
  document.title = `${NAMES[state.tab]} · ${room.run.name} · The listening room`;
}

function chooser() {
  if (document.activeElement !== $("feature-number")) $("feature-number").value = state.feature;
  for (const place of document.querySelectorAll("[data-feature]")) place.textContent = `feature ${state.feature}`;
}

function choose(n) {
  if (!Number.isInteger(n) || n < 0 || n >= room.run.dim) {
    complain(new Error(`There is no such feature: they are 0 to ${room.run.dim - 1}.`));
    return;
  }
  set({ feature: String(n), page: "1" });
}

function firstFeature() {
  const dead = new Set(room.dead);
  for (let n = 0; n < room.run.dim; n++) if (!dead.has(n)) return String(n);
  return "0";
}

async function begin() {
  $("error-close").addEventListener("click", () => { $("error").hidden = true; });
  try {
    room = await get("/api/room");
  } catch (error) {
    complain(error);
    return;
  }
  const n = Number(state.feature);
  if (state.feature === "" || !Number.isInteger(n) || n < 0 || n >= room.run.dim) {
    set({ feature: firstFeature() }, { replace: true });
  }
  $("run-name").textContent = room.run.name;
  $("run-about").textContent = [room.run.encoder, room.run.method].filter(Boolean).join(" · ");
  $("run-data").textContent = room.sources.map(
    (source) => ` · ${source.name}: ${plural(source.segments, "segment")} of ${plural(source.tracks, "track")}`).join("");
  $("skip").addEventListener("click", (event) => { // its address is none of the page's
    event.preventDefault();
    $("main-top").focus();
  });
  $("feature-number").max = room.run.dim - 1;
  $("feature-of").textContent = `of ${count(room.run.dim)}`;
  $("feature-number").addEventListener("change", () => $("feature-number").value !== "" && choose(Number($("feature-number").value)));
  $("feature-form").addEventListener("submit", (event) => {
    event.preventDefault();
    choose(Number($("feature-number").value));
  });
  $("feature-down").addEventListener("click", () => choose((Number(state.feature) + room.run.dim - 1) % room.run.dim));
  $("feature-up").addEventListener("click", () => choose((Number(state.feature) + 1) % room.run.dim));
  for (const tab of TABS) {
    $(`to-${tab}`).addEventListener("click", (event) => {
      event.preventDefault();
      set({ tab });
    });
  }
  views();
  chooser();
  for (const part of [table, feature, map, blind, notes, drop, neighbours, keys]) part.start(room);
  on("state", () => { views(); chooser(); });
  on("judging", views);
  on("nothing", () => {
    const first = [...document.querySelectorAll("main button.play")].find((button) => button.checkVisibility());
    if (first) first.click();
    else announce("There is nothing to play here.");
  });
  document.body.dataset.ready = "yes";
}

begin();
