// The server's HTTP interface: JSON both ways, and problem documents (RFC 9457) as errors a person can read.

const READ_MS = 15000;
// Opening a session starts the processes of its devices.
const WRITE_MS = 90000;
const GONE_OR_TAKEN = [404, 409];

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `The server answered ${status}.`);
    this.status = status;
    this.body = body;
  }
}

// fetch, with every failure as an error whose message can be shown.
export async function ask(path, options) {
  const response = await fetch(path, options).catch((error) => {
    const slow = error.name === "TimeoutError";
    throw new Error(slow ? "The server takes too long to answer." : "The server does not answer.");
  });
  if (!response.ok) throw new Problem(response.status, await response.json().catch(() => ({})));
  return response;
}

async function call(method, path, body, timeoutMs) {
  const response = await ask(path, {
    method,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.timeout(timeoutMs),
  });
  return response.status === 204 ? null : response.json();
}

export const get = (path) => call("GET", path, undefined, READ_MS);
export const post = (path, body = {}) => call("POST", path, body, WRITE_MS);
export const patch = (path, body) => call("PATCH", path, body, WRITE_MS);
export const del = (path, body) => call("DELETE", path, body, WRITE_MS);

// The one of `things` that is meant: by its id, or by its name when it was made anew.
export const known = (things, wanted) =>
  things.find((thing) => thing.id === wanted.id) ?? things.findLast((thing) => thing.name === wanted.name);

// The thing in `list` that is meant, made by POST to `collection` if it is not there. When that is refused, somebody
// else has made it meanwhile, or it was deleted: an id cannot come back, so the server then chooses another one.
export async function ensure(list, wanted, collection = list) {
  const find = async () => known(await get(list), wanted);
  const found = await find();
  if (found) return found;
  try {
    return await post(collection, wanted);
  } catch (error) {
    if (!GONE_OR_TAKEN.includes(error.status)) throw error;
    return await find() ?? post(collection, { ...wanted, id: undefined });
  }
}
