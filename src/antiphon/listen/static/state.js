// What is being looked at, kept in the address (so that reload, back and links work), and events.

const DEFAULTS = {
  tab: "table", feature: "", with: "", tags: "", source: "a", sort: "", order: "desc",
  page: "1", size: "10", search: "", marked: "",
};

// No element has one of these for its id: the browser would go to it, and give it the focus.
export const TABS = ["table", "feature", "map", "blind", "notes", "file"];

/** The state of now: strings only. Change it with `set`. */
export const state = read();

function read() {
  const [tab, query] = location.hash.slice(1).split("?");
  const found = { ...DEFAULTS };
  for (const [name, value] of new URLSearchParams(query)) if (name in DEFAULTS) found[name] = value;
  found.tab = TABS.includes(tab) ? tab : DEFAULTS.tab;
  return found;
}

/** The address of the state with some changes: for links. */
export function link(changes = {}) {
  const { tab, ...rest } = { ...state, ...changes };
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(rest)) {
    if (String(value) !== DEFAULTS[name]) query.set(name, value);
  }
  const words = query.toString();
  return `#${tab}${words ? `?${words}` : ""}`;
}

/** Change some of it and tell who listens; `replace` makes no step in the browser's history. */
export function set(changes, { replace = false } = {}) {
  const address = link(changes);
  if (address === location.hash) return;
  history[replace ? "replaceState" : "pushState"](null, "", address);
  update();
}

function update() {
  const next = read();
  const changed = Object.keys(DEFAULTS).filter((name) => state[name] !== next[name]);
  if (!changed.length) return;
  Object.assign(state, next);
  emit("state", new Set(changed));
}

addEventListener("popstate", update);
addEventListener("hashchange", update);

export const numbers = (words) => [...words.matchAll(/\d+/g)].map((found) => Number(found[0]));

// Tags stand in the address as JSON, as a tag may hold any character.
export function tagList() {
  try {
    return state.tags ? JSON.parse(state.tags) : [];
  } catch {
    return [];
  }
}
export const tagWords = (tags) => (tags.length ? JSON.stringify(tags) : "");

const listeners = new Map();

/** Call `listener(detail)` at each event of the name: "state", "playing", "mark", "note". */
export function on(name, listener) {
  listeners.set(name, [...(listeners.get(name) ?? []), listener]);
}

export function emit(name, detail) {
  for (const listener of listeners.get(name) ?? []) listener(detail);
}
