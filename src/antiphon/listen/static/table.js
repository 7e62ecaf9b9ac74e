// The table of all segments: columns of features and tags, sorted, searched and paged by the server.

import { get } from "./api.js";
import { $, announce, bar, complain, count, el, percent, plural, replace, value } from "./dom.js";
import { markButton } from "./marks.js";
import { itemsOf } from "./player.js";
import { labelsOf, playButton, span, titleOf } from "./rows.js";
import { emit, numbers, on, set, state, tagList, tagWords } from "./state.js";

let room;
let asked = 0;
let typing;

const extras = () => numbers(state.with).filter((n) => n < room.run.dim && String(n) !== state.feature);
const features = () => (state.feature === "" ? extras() : [Number(state.feature), ...extras()]);
const tags = () => tagList().filter((tag) => room.tags?.includes(tag));
const sorting = () => state.sort || (state.feature === "" ? "track" : `f${state.feature}`);

function question(page) {
  return {
    source: state.source, features: features().join(","), tag: tags(),
    sort: sorting(), order: state.order, search: state.search, marked: state.marked, page, size: state.size,
  };
}

async function load() {
  const mine = ++asked;
  $("rows").setAttribute("aria-busy", "true");
  try {
    const found = await get("/api/rows", question(state.page));
    if (mine !== asked) return;
    show(found);
  } catch (error) {
    if (mine === asked) complain(error);
  } finally {
    if (mine === asked) $("rows").removeAttribute("aria-busy");
  }
}

// "next" at the end of a page goes on with the next page.
async function further(direction) {
  const page = Number(state.page) + direction;
  if (page < 1) return [];
  const found = await get("/api/rows", question(page));
  if (!found.rows.length || found.page !== page) return [];
  set({ page: String(page) });
  return itemsOf(found.rows);
}

// --- the table ----------------------------------------------------------------------------------

function columns() {
  return [
    { name: "Track", sort: "track" },
    { name: "Segment", sort: "start", wide: true },
    { name: "Labels", sort: "labels", wide: true },
    ...features().map((n) => ({ name: `Feature ${n}`, short: `F ${n}`, sort: `f${n}`, of: (row) => row.features[n] })),
    ...tags().map((tag) => ({ name: tag, sort: `t:${tag}`, of: (row) => row.tags[tag], share: true })),
  ];
}

function header(column) {
  const sorted = sorting() === column.sort;
  const downwards = state.order === "desc";
  const turn = () => set({
    sort: column.sort === `f${state.feature}` ? "" : column.sort, page: "1",
    order: sorted ? (downwards ? "asc" : "desc") : column.of || column.tight ? "desc" : "asc",
  });
  return el("th", {
    scope: "col", class: ["of", "wide", "tight"].filter((kind) => column[kind]).join(" "),
    "aria-sort": sorted ? (downwards ? "descending" : "ascending") : "none",
  }, el("button", { type: "button", class: "sort", "data-focus": `sort ${column.sort}`, onclick: turn },
    column.name, el("span", { "aria-hidden": "true", class: "arrow" }, sorted ? (downwards ? "↓" : "↑") : "↕")));
}

function line(items, n, shown, largest) {
  const { row } = items[n];
  const cells = shown.filter((column) => column.of).map((column) => {
    const x = column.of(row);
    return el("td", { class: "number" }, el("span", {}, column.share ? percent(x) : value(x)),
      bar(Math.abs(x ?? 0) / (column.share ? 1 : largest.get(column)), x < 0 ? "below" : ""));
  });
  return el("tr", {},
    el("td", { class: "tight" }, playButton(items, n, { further })),
    el("th", { scope: "row" }, el("span", { class: "title" }, titleOf(row)),
      el("span", { class: "about" }, row.group ?? ""),
      el("span", { class: "about narrow" }, span(row), " ", labelsOf(row))),
    el("td", { class: "wide time" }, span(row)),
    el("td", { class: "wide" }, labelsOf(row) ?? el("span", { class: "none" }, "none")),
    cells,
    el("td", { class: "tight" }, markButton(row)));
}

function show(found) {
  const items = itemsOf(found.rows);
  const shown = columns();
  const largest = new Map(shown.filter((column) => column.of).map((column) =>
    [column, Math.max(1e-9, ...found.rows.map((row) => Math.abs(column.of(row) ?? 0)))]));
  replace($("rows-head"), el("tr", {},
    el("td", { class: "tight" }, el("span", { class: "unseen" }, "Play")),
    shown.map(header),
    header({ name: "Mark", sort: "marked", tight: true })));
  replace($("rows-body"), items.length
    ? items.map((_, n) => line(items, n, shown, largest))
    : el("tr", {}, el("td", { class: "empty", colspan: shown.length + 2 }, "No segment is like that.")));
  pages(found);
  announce(`${plural(found.total, "segment")}, page ${found.page} of ${Math.max(1, found.pages)}.`);
  emit("rendered");
}

function pages(found) {
  const last = Math.max(1, found.pages);
  const button = (words, name, page, possible) => el("button", {
    type: "button", class: "plain", "data-focus": `page ${name}`, "aria-label": `${name} page`,
    "aria-disabled": possible ? null : "true", onclick: () => possible && set({ page: String(page) }),
  }, words);
  replace($("pages"),
    button("«", "First", 1, found.page > 1), button("‹", "Previous", found.page - 1, found.page > 1),
    el("span", {}, `Page ${count(found.page)} of ${count(last)}`),
    button("›", "Next", found.page + 1, found.page < last), button("»", "Last", last, found.page < last));
  $("total").textContent = plural(found.total, "segment");
}

// --- what is chosen -----------------------------------------------------------------------------

function chips() {
  const chip = (words, off) => el("li", {}, el("button", {
    type: "button", class: "chip", "aria-label": `Remove the column ${words}`, onclick: off,
  }, words, el("span", { "aria-hidden": "true" }, " ×")));
  const rest = (drop) => extras().filter((n) => n !== drop).join(",");
  const reset = (sort) => (state.sort === sort ? { sort: "", order: "desc" } : {});
  replace($("columns"),
    extras().map((n) => chip(`Feature ${n}`, () => set({ with: rest(n), page: "1", ...reset(`f${n}`) }))),
    tags().map((tag) => chip(tag, () =>
      set({ tags: tagWords(tags().filter((other) => other !== tag)), page: "1", ...reset(`t:${tag}`) }))));
}

function fields() {
  for (const radio of document.querySelectorAll("input[name=source]")) radio.checked = radio.value === state.source;
  if (document.activeElement !== $("search")) $("search").value = state.search;
  $("marked").checked = state.marked === "1";
  $("size").value = state.size;
  chips();
}

function addFeatures(event) {
  event.preventDefault();
  const asked = numbers($("add-feature").value);
  const wrong = asked.filter((n) => n >= room.run.dim);
  if (wrong.length) return complain(new Error(`There is no feature ${wrong.join(", ")}: they are 0 to ${room.run.dim - 1}.`));
  if (!asked.length) return complain(new Error("Write one or more feature numbers, such as 3, 17."));
  set({ with: [...new Set([...extras(), ...asked])].join(",") });
  $("add-feature").value = "";
}

// What a person should know before they trust the table: why there are no tags, which files are not there.
function caveats() {
  $("tags-about").hidden = Boolean(room.tags) || !room.tags_about;
  $("tags-about").textContent = `No tags: ${room.tags_about}.`;
  const skipped = room.sources.flatMap((source) => Object.entries(source.skipped));
  $("skipped").hidden = !skipped.length;
  $("skipped").firstElementChild.textContent = `${plural(skipped.length, "file")} could not be read`;
  $("skipped").lastElementChild.append(...skipped.slice(0, 200).map(([path, why]) => el("li", {}, `${path}: ${why}`)));
}

export function start(theRoom) {
  room = theRoom;
  caveats();
  const sources = $("sources");
  sources.hidden = room.sources.length < 2;
  sources.append(...room.sources.map((source) => el("label", {},
    el("input", { type: "radio", name: "source", value: source.key, onchange: () => set({ source: source.key, page: "1" }) }),
    el("span", {}, source.name))));
  $("add-tag").append(...(room.tags ?? []).map((tag) => el("option", { value: tag }, tag)));
  $("tags-field").hidden = !room.tags;
  $("add-tag").addEventListener("change", () => {
    if ($("add-tag").value) set({ tags: tagWords([...new Set([...tags(), $("add-tag").value])]) });
    $("add-tag").value = "";
  });
  $("add-features").addEventListener("submit", addFeatures);
  $("search-form").addEventListener("submit", (event) => event.preventDefault());
  $("search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => set({ search: $("search").value.trim(), page: "1" }, { replace: true }), 200);
  });
  $("marked").addEventListener("change", () => set({ marked: $("marked").checked ? "1" : "", page: "1" }));
  $("size").addEventListener("change", () => set({ size: $("size").value, page: "1" }));
  const matters = ["feature", "with", "tags", "source", "sort", "order", "page", "size", "search", "marked"];
  on("state", (changed) => {
    if (matters.some((name) => changed.has(name))) {
      fields();
      load();
    }
  });
  on("mark", () => state.marked && load());
  fields();
  load();
}
