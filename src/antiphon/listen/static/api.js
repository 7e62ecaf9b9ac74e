// All that is asked of the server. Errors become sentences that can be shown as they are.

const GONE = "The room does not answer. Is “antiphon listen” still running?";

async function ask(path, options = {}) {
  let reply;
  try {
    reply = await fetch(path, options);
  } catch (cause) {
    if (cause.name === "AbortError") throw cause;
    throw new Error(GONE);
  }
  const text = await reply.text();
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    body = { error: `The room answered ${reply.status} ${reply.statusText}.` };
  }
  if (reply.ok && !body.error) return body;
  const word = body.error ?? body.detail;
  throw new Error(typeof word === "string" ? word : `The room answered ${reply.status}.`);
}

/** GET; a list is one parameter several times, what is empty is left out. */
export function get(path, parameters = {}, options = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    const several = Array.isArray(value) ? value : [value];
    for (const one of several) if (one !== "" && one != null && one !== false) query.append(name, one);
  }
  const words = query.toString();
  return ask(words ? `${path}?${words}` : path, options);
}

function send(method, path, body, type = "application/json") {
  return ask(path, { method, body, headers: { "X-Antiphon": "1", "Content-Type": type } });
}

export const put = (path, body) => send("PUT", path, JSON.stringify(body));
export const post = (path, body) => send("POST", path, JSON.stringify(body));
export const postFile = (path, file) => send("POST", path, file, "application/octet-stream");
