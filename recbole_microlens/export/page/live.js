// The page itself: who is asked for, what is shown of them, and the video that was clicked.

const ALIKE = 8;
const AUDIENCE = 10;
const DEEPEST = 200; // how far down a list a video is looked for

let model = null;
let users = [];
// Questions are numbered: an answer that comes late is not shown.
let latestAnswer = 0;
let latestVideo = 0;

function say(text, isWrong = false) {
  const said = find("said");
  said.textContent = printable(text);
  said.classList.toggle("wrong", isWrong);
}

// Do something that may fail, and say so where it does.
async function tried(work) {
  try {
    await work();
  } catch (error) {
    if (error.status === 401 || error.status === 403) askForToken(error.message);
    say(error.message, true);
  }
}

const wantedCount = () => Math.min(100, Math.max(1, Math.trunc(find("count").valueAsNumber) || 10));

async function recommended(who, k, at) {
  const { recommendations } = await posted("recommend", { ...who, k, at });
  return recommendations[0]?.items ?? [];
}

// The rank of an item in a list of which the first are known; null where it is not found.
async function rankOf(itemId, items, who, at) {
  const isIt = (item) => item.item_id === itemId;
  const found = items.find(isIt);
  if (found || items.length < wantedCount()) return found?.rank ?? null;
  try {
    return (await recommended(who, Math.min(DEEPEST, model.items), at)).find(isIt)?.rank ?? null;
  } catch {
    return null;
  }
}

async function askUser(user) {
  const number = (latestAnswer += 1);
  const at = find("held-back").checked ? "test" : "now";
  find("user").value = user;
  say(`Asking for user ${user} …`);
  const who = { users: [user] };
  const [about, items] = await Promise.all([
    asked(`users/${encodeURIComponent(user)}`),
    recommended(who, wantedCount(), at),
  ]);
  const next = at === "test" ? about.next : null;
  const history = at === "now" && about.next ? [...about.history, about.next] : about.history;
  const rank = next ? await rankOf(next.item_id, items, who, at) : null;
  if (number !== latestAnswer) return;
  showAnswer(`User ${shortened(printable(user))}`, history, items, next, rank);
}

async function askHistory(text) {
  const number = (latestAnswer += 1);
  const ids = text.split(/[\s,;]+/).filter(Boolean);
  if (!ids.length) throw new Refusal(0, "Give the ids of some videos, oldest first.");
  say("Asking for this history …");
  const history = await Promise.all(ids.map(itemOf));
  const items = await recommended({ histories: [ids] }, wantedCount(), "now");
  if (number === latestAnswer) showAnswer("Somebody who watched these", history, items, null, null);
}

function verdict(items, next, rank) {
  if (!next) return "";
  const isHit = items.some((item) => item.item_id === next.item_id);
  const text = rank === null ? `watched next: not among the first ${DEEPEST}` : `watched next: rank ${counted(rank)}`;
  return element("p", { className: `verdict${isHit ? " hit" : ""}`, text });
}

function showAnswer(title, history, items, next, rank) {
  const isNext = (item) => next !== null && item.item_id === next.item_id;
  const shown = history.slice(-9).map((item) => ({ item_id: item.item_id, title: item.title }));
  const all = `${counted(history.length)} ${history.length === 1 ? "video" : "videos"}`;
  const some = shown.length < history.length ? `The last ${shown.length} of ${all}` : all;
  find("answer").replaceChildren(
    element("div", { className: "heading" }, element("h3", {}, isolated(title)), verdict(items, next, rank)),
    element("h4", { text: "Watched, oldest first" }),
    hint(next ? `${some}, then the one that they watched next, which the model was not told.` : `${some}.`),
    cards(next ? [...shown, next] : shown, "Watched, oldest first", (item) => ({ isNext: isNext(item) })),
    element("h4", { text: "Recommended, best first" }),
    hint("Of the videos that they had not watched, those with the highest scores."),
    cards(items, "Recommended, best first", (item) => ({ unit: "score", isNext: isNext(item) })),
  );
  say(`${title}: ${items.length} recommendations.`);
}

async function alikeOf(item) {
  const { similar } = await posted("similar", { items: [item], k: ALIKE });
  return cards(similar[0].items, "Most like it, best first", () => ({ unit: "alike" }));
}

async function audienceOf(item) {
  const { audience } = await posted("audience", { items: [item], k: AUDIENCE });
  return userList(audience[0].users.map(({ user_id: user }) => user), pickUser);
}

function pickUser(user) {
  find("video").close();
  find("asking").scrollIntoView();
  find("user").focus({ preventScroll: true });
  tried(() => askUser(user));
}

const aroundVideo = (item, level) => [
  part(level, "Most like it", "The videos that the model finds most like it, whoever watched them.", () => alikeOf(item)),
  part(level, "To whom to show it", "The users for whom it stands out most among all videos, best first.", () => audienceOf(item)),
];

async function showVideo(item) {
  const number = (latestVideo += 1);
  const inside = find("video-inside");
  const facts = element("p", { className: "facts" });
  const badges = element("p", { className: "badges" });
  addCounts(item, facts, badges);
  find("video-name").replaceChildren(isolated(shortened(nameOf(item))));
  inside.replaceChildren(element("div", { className: "one" }, picture(item), element("div", {}, hint(`Id ${printable(item.item_id)}`), facts, badges)));
  if (!find("video").open) find("video").showModal();
  find("video").scrollTop = 0;
  find("video-name").focus();
  const parts = (await Promise.all(aroundVideo(item.item_id, "h3"))).flat();
  if (number === latestVideo) inside.append(...parts);
}

function askForToken(reason = "") {
  find("token-form").hidden = false;
  find("token-said").textContent = printable(reason);
  find("token").focus();
}

function describe() {
  const looksAt = model.looks_at.length ? model.looks_at.map((name) => LOOKS_AT[name] ?? name).join(" and ") : "id";
  const people = model.users ? ` and ${counted(model.users)} users` : "";
  find("title").textContent = `Ask ${printable(model.model)}`;
  find("about").textContent =
    `${printable(model.model)} was trained on ${printable(model.dataset)}: ${counted(model.items)} videos${people}. ` +
    `It knows a video by its ${looksAt}.`;
}

async function start() {
  model = await asked("model");
  find("token-form").hidden = true;
  find("content").hidden = find("contents").hidden = false;
  describe();
  prepareUpload();
  const hasUsers = model.users > 0;
  find("user-form").hidden = !hasUsers;
  find("own").open = !hasUsers;
  if (!hasUsers) return say("This run does not say who its users are: give a history.");
  ({ users } = await asked("users?limit=20"));
  find("users").replaceChildren(...users.map((user) => element("option", { value: user })));
  if (users.length) await askUser(users[0]);
}

function onSubmit(form, work) {
  find(form).addEventListener("submit", (event) => {
    event.preventDefault();
    tried(work);
  });
}

onSubmit("token-form", () => {
  token = find("token").value.trim();
  find("token").value = "";
  return start();
});
onSubmit("user-form", () => askUser(find("user").value.trim()));
onSubmit("history-form", () => askHistory(find("history").value));
onSubmit("upload-form", upload);
find("another").addEventListener("click", () => {
  const others = users.filter((user) => user !== find("user").value);
  if (others.length) tried(() => askUser(others[Math.floor(Math.random() * others.length)]));
});
find("video-close").addEventListener("click", () => find("video").close());
if (document.body.dataset.token === "needed") askForToken();
else tried(start);
