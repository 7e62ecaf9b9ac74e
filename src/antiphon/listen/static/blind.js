// Blind listening: does a person hear what a feature responds to, with nothing told?
//
// The server shuffles and keeps the answer to itself until all sounds are judged. While a session is
// open the page shows no label, no value and none of the other views.

import { get, post } from "./api.js";
import { $, announce, bar, browserId, complain, count, el, percent, person, plural, replace, value, when } from "./dom.js";
import { play, stop } from "./player.js";
import { labelsOf, playButton, span, titleOf } from "./rows.js";
import { emit, on, set, state } from "./state.js";

let room;
let session = null; // {session, feature, items, answers}

export const isOpen = () => session !== null;

async function begin(event) {
  event.preventDefault();
  person.set($("blind-by").value.trim());
  try {
    const found = await post("/api/blind", {
      feature: Number(state.feature), by: person.get(), browser: browserId(), source: $("blind-source").value, count: Number($("blind-count").value),
    });
    const notes = await get("/api/notes");
    session = { ...found, answers: found.items.map(() => null), notes: notes.filter((one) => one.feature === found.feature) };
  } catch (error) {
    complain(error);
    return;
  }
  stop();
  document.body.classList.add("judging");
  emit("judging", true);
  replace($("blind-result"));
  draw();
  $("blind-session").querySelector("h3").focus();
  announce(`${plural(session.items.length, "sound")} to judge.`);
}

function leave() {
  session = null;
  stop();
  document.body.classList.remove("judging");
  emit("judging", false);
  draw();
}

const soundsOf = () => session.items.map((item) => ({
  kind: "blind", id: item.item, audio: item.audio, title: `Sound ${item.item + 1} of ${session.items.length}`,
  about: "Yes: y · no: x · next: n",
}));

function draw() {
  $("blind-setup").hidden = isOpen();
  if (!session) return replace($("blind-session"));
  const sounds = soundsOf();
  replace($("blind-session"), el("section", { class: "card", "aria-labelledby": "h-session" },
    el("h3", { id: "h-session", tabindex: "-1" }, `Feature ${session.feature}: is it one of its strongest?`),
    session.notes.length
      ? session.notes.map((note) => el("p", {}, `${note.by || "Somebody"} wrote: `, el("q", {}, note.text)))
      : el("p", { class: "note" }, "There is no note on this feature. Its tab has its top segments, none of which is played here: hear those and write what it responds to first, or judge by what you remember."),
    el("ol", { class: "judge" }, session.items.map((item, n) => one(sounds, n))),
    el("p", { class: "row" },
      el("button", { type: "button", class: "button", id: "blind-done", onclick: finish }, "Show how I did"),
      el("button", { type: "button", class: "plain", onclick: leave }, "Leave without a result"),
      el("span", { id: "blind-left", class: "note" }))));
  left();
  emit("rendered");
}

function one(sounds, n) {
  const name = `answer-${n}`;
  const choice = (words, said) => el("label", {},
    el("input", { type: "radio", name, value: String(said), onchange: () => answer(n, said) }), el("span", {}, words));
  return el("li", {},
    el("button", {
      type: "button", class: "round play", "data-play": `blind ${n}`, "aria-pressed": "false",
      "aria-label": `Play sound ${n + 1}`, onclick: () => play(sounds, n),
    }),
    el("span", { class: "what" }, `Sound ${n + 1}`),
    el("fieldset", { class: "segmented" },
      el("legend", { class: "unseen" }, `Is sound ${n + 1} one of the strongest?`), choice("yes", true), choice("no", false)));
}

function answer(n, said) {
  session.answers[n] = said;
  left();
}

function left() {
  const missing = session.answers.filter((said) => said === null).length;
  $("blind-left").textContent = missing ? `${plural(missing, "sound")} left` : "All are judged.";
}

/** Answer for the sound that plays, by a key. */
export function answerCurrent(item, said) {
  if (!session || item?.kind !== "blind") return;
  const field = document.querySelector(`input[name="answer-${item.id}"][value="${said}"]`);
  if (field) field.checked = true;
  answer(item.id, said);
  announce(`Sound ${item.id + 1}: ${said ? "yes" : "no"}.`);
}

async function finish() {
  const open = session.answers.indexOf(null);
  if (open >= 0) {
    complain(new Error(`Sound ${open + 1} isn't judged yet.`));
    document.querySelector(`input[name="answer-${open}"]`).focus();
    return;
  }
  try {
    const found = await post(`/api/blind/${session.session}`, { answers: session.answers });
    leave();
    result(found);
    emit("blind", found);
    load();
  } catch (error) {
    complain(error);
  }
}

function result(found) {
  const sure = found.p < 0.05;
  const items = found.items.map(({ row }) => ({ kind: "segment", row }));
  const [low, high] = found.interval ?? [null, null];
  replace($("blind-result"), el("section", { class: "card", "aria-labelledby": "h-result" },
    el("h3", { id: "h-result", tabindex: "-1" }, `${found.right} of ${found.of} right`),
    el("p", {}, sure ? "Better than guessing: " : "Not told from guessing: ",
      `guessing gets ${percent(found.chance)} right, you ${percent(found.right / found.of)}`,
      low == null ? "" : ` (95 % interval ${percent(low)} to ${percent(high)})`,
      `; p ${found.p < 0.001 ? "< 0.001" : `= ${found.p.toFixed(3)}`}, κ ${value(found.kappa)}.`),
    found.ranks && el("p", { class: "note" },
      `The strongest ones were the feature's tracks ${count(found.ranks[0])} to ${count(found.ranks[1])} of ${count(found.ranks[2])}.`),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Each sound of the session" },
      el("table", { class: "small" },
        el("thead", {}, el("tr", {}, el("td", {}, el("span", { class: "unseen" }, "Play")),
          ["Track", "Labels", "Your answer", "It was"].map((words) => el("th", { scope: "col" }, words)))),
        el("tbody", {}, found.items.map(({ row, top, answer: said }, n) => el("tr", {},
          el("td", { class: "tight" }, playButton(items, n)),
          el("th", { scope: "row" }, titleOf(row), el("span", { class: "about" }, span(row))),
          el("td", {}, labelsOf(row)),
          el("td", {}, said ? "yes" : "no"),
          el("td", { class: said === top ? "right" : "wrong" },
            `${said === top ? "✓" : "✗"} ${top ? "one of the strongest" : "not one"}`))))))));
  $("h-result").focus();
  announce(`${found.right} of ${found.of} right.`);
  emit("rendered");
}

async function load() {
  if (state.tab !== "blind" || state.feature === "") return;
  const feature = state.feature;
  try {
    const { sessions, agreement } = await get("/api/blind", { feature });
    if (feature !== state.feature) return;
    replace($("blind-before"), sessions.length ? [
      el("h3", {}, `Feature ${feature} so far`),
      el("ul", { class: "judged" }, sessions.map((s) => el("li", {}, el("b", {}, `${s.right} of ${s.of} right`), ` by ${s.by || "somebody"}, ${when(s.at)}`,
        bar(s.right / s.of)))),
      agreement && el("p", {}, `Agreement of ${plural(agreement.judges, "judge")} over ${plural(agreement.items, "sound")}: κ ${value(agreement.kappa)}.`),
    ] : null);
  } catch (error) {
    complain(error);
  }
}

export function start(theRoom) {
  room = theRoom;
  $("blind-by").value = person.get();
  $("blind-source").append(...room.sources.map((one) => el("option", { value: one.key }, one.name)));
  $("blind-source-field").hidden = room.sources.length < 2;
  $("blind-form").addEventListener("submit", begin);
  $("back-to-blind").addEventListener("click", () => set({ tab: "blind" }));
  $("leave-blind").addEventListener("click", leave);
  on("state", (changed) => (changed.has("tab") || changed.has("feature")) && load());
  load();
}
