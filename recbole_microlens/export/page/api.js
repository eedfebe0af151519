// The service's answers, pictures among them. The token is kept here and nowhere else.

let token = "";

class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function answered(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, credentials: "omit", referrerPolicy: "same-origin" });
  } catch {
    throw new Refusal(0, "The service does not answer. Is it still running?");
  }
  if (!response.ok) throw new Refusal(response.status, await reason(response));
  return response;
}

async function reason(response) {
  try {
    const { detail } = await response.json();
    return typeof detail === "string" ? detail : JSON.stringify(detail);
  } catch {
    return `The service answered ${response.status}, without a reason.`;
  }
}

const asked = async (path) => (await answered(path)).json();

async function posted(path, body) {
  const headers = { "Content-Type": "application/json" };
  return (await answered(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
}

const uploaded = async (form) => (await answered("items", { method: "POST", body: form })).json();

// A few requests at a time: a page of twenty videos must not look like a flood to the service.
const AT_ONCE = 4;
let running = 0;
const waiting = [];

async function inTurn(work) {
  if (running >= AT_ONCE) await new Promise((resolve) => waiting.push(resolve));
  running += 1;
  try {
    return await work();
  } finally {
    running -= 1;
    waiting.shift()?.();
  }
}

const known = new Map();

function remembered(key, work) {
  if (!known.has(key)) {
    const result = inTurn(work);
    result.catch(() => known.delete(key));
    known.set(key, result);
  }
  return known.get(key);
}

const itemPath = (item) => `items/${encodeURIComponent(item)}`;
const itemOf = (item) => remembered(`item ${item}`, () => asked(itemPath(item)));

// A service whose pictures are gone is not asked for each of them.
const MISSES = 5;
let hits = 0;
let misses = 0;

const pictureOf = (item) =>
  remembered(`picture ${item}`, async () => {
    if (hits === 0 && misses >= MISSES) return null;
    try {
      const picture = await answered(`${itemPath(item)}/thumbnail`);
      hits += 1;
      return URL.createObjectURL(await picture.blob());
    } catch (error) {
      if (error.status !== 404) throw error;
      misses += 1;
      return null;
    }
  });
