// One feature: its top segments in both collections, their labels, a spectrum that moves it, notes.

import { get, put } from "./api.js";
import { $, announce, complain, count, el, percent, person, plural, replace, svg, value, when } from "./dom.js";
import { rowList } from "./rows.js";
import { emit, on, state } from "./state.js";

let room;
let asked = 0;

const visible = () => state.tab === "feature";

// Blind listening leaves out the tracks that are shown here (blind.py's SHOWN).
const topOf = (feature) => get("/api/top", { feature, count: 10, per_track: $("once").checked ? 1 : "" });

async function load() {
  if (state.feature === "" || !visible()) return;
  const mine = ++asked;
  const feature = state.feature;
  $("feature-title").textContent = `Feature ${feature}`;
  try {
    const [about, top, notes, judged] = await Promise.all([
      get(`/api/feature/${feature}`), topOf(feature),
      get("/api/notes"), get("/api/blind", { feature }),
    ]);
    if (mine !== asked) return;
    facts(about);
    filter(about);
    tops(top, feature);
    note(notes.filter((other) => other.feature === about.feature));
    blind(judged);
  } catch (error) {
    if (mine === asked) complain(error);
  }
}

function facts(about) {
  const items = [
    ["mean", value(about.mean)], ["deviation", value(about.deviation)],
    ["active in", about.active == null ? "–" : percent(about.active)],
    ["by deviation", about.rank == null ? "–" : `${count(about.rank)} of ${count(room.run.dim)}`],
  ];
  replace($("feature-facts"), items.map(([name, words]) => el("div", {}, el("dt", {}, name), el("dd", {}, words))));
  $("feature-dead").hidden = !about.dead;
}

// --- top segments and their tags, a column a collection -----------------------------------------

function tops(sources, feature) {
  replace($("tops"), sources.map((source) => {
    const where = room.sources.length > 1 ? (source.source === "a" ? "in-domain" : "out-of-domain") : "";
    const name = `top-${source.source}`;
    return el("section", { class: "card", "aria-labelledby": name },
      el("h3", { id: name }, `Top of ${source.name}`, where && el("span", { class: "where" }, where)),
      rowList(source.rows, { figure: (row) => row.features[feature], of: "Value" }),
      enrichment(source));
  }));
  $("tops").classList.toggle("two", sources.length > 1);
  if (sources.some((source) => source.tags_pending)) setTimeout(() => counted(feature), 2000);
}

async function counted(feature) {
  if (feature !== state.feature || !visible()) return;
  try {
    const top = await topOf(feature);
    if (feature === state.feature) tops(top, feature);
  } catch (error) {
    complain(error);
  }
}

function enrichment({ tags, tags_pending: pending, tags_failed: failed, name }) {
  const say = (words) => el("p", { class: "note" }, words);
  if (pending) return say("Labels: being counted, over all features …");
  if (failed) return say(`The labels could not be counted: ${failed}`);
  if (!tags.length) return say("No label is commoner here than elsewhere, or there are none.");
  const head = ["Label", "In the top", "Everywhere", "Lift", "q"];
  const classes = ["", "number", "number spare", "number", "number"];
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Labels of the top of ${name}` },
    el("table", { class: "small enrichment" },
      el("caption", {}, "Labels of the top tracks; q is over all labels of all features"),
      el("thead", {}, el("tr", {}, head.map((words, n) => el("th", { scope: "col", class: classes[n] }, words)))),
      el("tbody", {}, tags.map((tag) => el("tr", { class: tag.q < 0.05 ? "sure" : "" },
        el("th", { scope: "row" }, tag.label),
        el("td", { class: "number" }, `${count(tag.count)} of ${count(tag.of)}`),
        el("td", { class: "number spare" }, percent(tag.base)),
        el("td", { class: "number" }, `${value(tag.lift)} ×`),
        el("td", { class: "number" }, tag.q == null ? "–" : tag.q < 0.001 ? "< 0.001" : tag.q.toFixed(3)))))));
}

// --- a spectrum that moves it -----------------------------------------------------------------------

function filter({ filter: found, filter_pending: pending, feature }) {
  $("filter-card").hidden = !found?.frequencies?.length && !pending;
  replace($("filter"), found?.frequencies?.length ? curve(found) : el("p", { class: "note" }, "It is being found …"));
  if (pending) setTimeout(() => later(feature), 1000);
}

async function later(feature) {
  if (String(feature) !== state.feature || !visible()) return;
  try {
    const about = await get(`/api/feature/${feature}`);
    if (String(feature) === state.feature) filter(about);
  } catch (error) {
    complain(error);
  }
}

function curve({ frequencies, power, untrained }) {
  const [width, height, left, bottom] = [440, 150, 6, 26];
  const low = Math.min(...power, ...(untrained ?? []));
  const high = Math.max(...power);
  const top = frequencies[frequencies.length - 1];
  const x = (f) => left + (f / top) * (width - 2 * left);
  const y = (p) => 8 + (1 - (p - low) / (high - low || 1)) * (height - bottom - 16);
  const strongest = frequencies[power.indexOf(high)];
  const along = (values) => frequencies.map((f, n) => `${x(f).toFixed(1)} ${y(values[n]).toFixed(1)}`).join("L");
  const points = along(power);
  const floor = height - bottom;
  const stepping = [100, 200, 500, 1000, 2000, 5000].find((step) => top / step <= 6) ?? 10000;
  const ticks = [...Array(Math.floor(top / stepping) + 1).keys()].map((n) => n * stepping);
  return svg("svg", {
    viewBox: `0 0 ${width} ${height}`, role: "img", class: "filter",
    "aria-label": `The spectrum of a sound that moves feature ${state.feature}, from 0 to ${count(top)} Hz; strongest at ${count(strongest)} Hz`
      + (untrained ? `, in the untrained encoder at ${count(frequencies[untrained.indexOf(Math.max(...untrained))])} Hz` : ""),
  },
    svg("path", { class: "area", d: `M${x(frequencies[0]).toFixed(1)} ${floor}L${points}L${x(top).toFixed(1)} ${floor}z` }),
    untrained && svg("path", { class: "curve untrained", d: `M${along(untrained)}` }),
    svg("path", { class: "curve", d: `M${points}` }),
    svg("line", { class: "axis", x1: left, x2: width - left, y1: floor, y2: floor }),
    ticks.map((f, n) => svg("text", {
      x: x(f), y: height - 8, "text-anchor": n === 0 ? "start" : x(f) > width - 30 ? "end" : "middle",
    }, n === ticks.length - 1 ? `${count(f)} Hz` : count(f))));
}

// --- the note and what blind listening said -----------------------------------------------------

// Each person has a note of their own on a feature; those of others stand below.
function note(notes) {
  const own = notes.find((one) => one.by === person.get());
  if (document.activeElement !== $("note-text")) $("note-text").value = own?.text ?? "";
  const others = notes.filter((one) => one !== own);
  replace($("note-said"),
    el("p", { class: "note" }, own ? `Saved ${when(own.at)}.` : others.length ? "" : "Nothing is written yet."),
    others.map((one) => el("p", {}, el("q", {}, one.text), el("span", { class: "about" }, ` ${one.by || "somebody"}, ${when(one.at)}`))));
}

async function save(event) {
  event.preventDefault();
  const feature = Number(state.feature);
  const text = $("note-text").value.trim();
  person.set($("note-by").value.trim());
  try {
    await put(`/api/notes/${feature}`, { text, by: person.get() });
    note((await get("/api/notes")).filter((other) => other.feature === feature));
    announce(`Your note on feature ${feature} is ${text ? "saved" : "removed"}.`);
    emit("note", feature);
  } catch (error) {
    complain(error);
  }
}

function blind({ sessions, agreement }) {
  const words = sessions.map((s) => el("li", {},
    el("b", {}, `${s.right} of ${s.of} right`), ` by ${s.by || "somebody"}, ${when(s.at)} `,
    el("span", { class: "about" }, `p ${s.p < 0.001 ? "< 0.001" : `= ${s.p.toFixed(3)}`}, κ ${value(s.kappa)}`)));
  if (agreement) {
    words.push(el("li", {}, el("b", {}, `Agreement of ${plural(agreement.judges, "judge")}: κ ${value(agreement.kappa)}`),
      ` over ${plural(agreement.items, "sound")}`));
  }
  replace($("judged"), words.length ? el("ul", { class: "judged" }, words)
    : el("p", { class: "note" }, "Nobody has judged it blind yet."));
}

export function start(theRoom) {
  room = theRoom;
  $("note-by").value = person.get();
  $("note-form").addEventListener("submit", save);
  $("once").addEventListener("change", load);
  on("state", (changed) => (changed.has("feature") || changed.has("tab")) && load());
  on("blind", load);
  load();
}
