// Questions to the worker. The token lives in this tab's session storage, and travels in a header alone.

const KEY = "longshore.token";
const PATIENCE_MS = 40000;
const TRIES = 8;

export class Refused extends Error {
  constructor(status, body) {
    super((body && body.error) || `the worker answered with ${status}`);
    this.status = status;
    this.body = body;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function once(path, options, patience) {
  const headers = { Accept: "application/json" };
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  if (options.body) headers["Content-Type"] = "application/json";
  const signal = AbortSignal.timeout(patience);
  const answer = await fetch(path, { ...options, headers, signal, cache: "no-store", credentials: "omit", redirect: "error" });
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, body);
  return body;
}

// A worker looks at letters for one visitor at a time: who comes second asks again.
async function ask(path, options = {}, patience = PATIENCE_MS) {
  for (let tried = 1; ; tried += 1) {
    try {
      return await once(path, options, patience);
    } catch (error) {
      if (error.status !== 429 || tried >= TRIES) throw error;
      await pause(1000);
    }
  }
}

export const get = (path) => ask(path);
export const quick = (path) => once(path, {}, 5000);
export const post = (path, body) => ask(path, { method: "POST", body: JSON.stringify(body) });

// TOPIC/PARTITION/OFFSET[/INDEX] as parts of a path; none when it is no place.
export function place(text) {
  const parts = /^([A-Za-z0-9._-]{1,249})\/(\d{1,9})\/(\d{1,19})(\/\d+)?$/.exec(String(text).trim());
  return parts && `${encodeURIComponent(parts[1])}/${parts[2]}/${parts[3]}`;
}
