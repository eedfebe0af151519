// What is shown of items, users and lists. Texts are set as text, never read as HTML.

const LONGEST_NAME = 80;
// As errors.printable has them: controls, marks that turn the direction of text, halves of pairs.
const UNPRINTABLE = /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|\p{Cs}/gu;

function spelled(character) {
  const code = character.charCodeAt(0);
  return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
}

const printable = (text) => String(text).replace(UNPRINTABLE, spelled);

function shortened(text, longest = LONGEST_NAME) {
  const letters = [...text];
  return letters.length <= longest ? text : `${letters.slice(0, longest - 1).join("").trimEnd()}…`;
}

const find = (id) => document.getElementById(id);
const counted = (number) => number.toLocaleString("en");
const nameOf = (item) => printable(item.title || `Video ${item.item_id}`);

function element(tag, { text, className, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

const isolated = (text) => element("bdi", { text });
const badge = (kind, text) => element("span", { className: `badge ${kind}`, text });
const hint = (text) => element("p", { className: "dim", text });

function picture(item) {
  const frame = element("span", { className: "frame" }, element("span", { className: "picture none", ariaHidden: "true" }));
  pictureOf(item.item_id).then(
    (source) => {
      if (source === null) return;
      const alt = `Picture of ${shortened(nameOf(item))}`;
      frame.firstChild.replaceWith(element("img", { className: "picture", src: source, width: 160, height: 160, alt }));
    },
    () => {}, // the placeholder stays
  );
  return frame;
}

// How often an item was watched in training, once the service has said so.
function addCounts(item, facts, badges) {
  itemOf(item.item_id).then(
    ({ train_count: count, is_new: isNew }) => {
      if (facts.childNodes.length) facts.append(element("br"));
      facts.append(isNew ? "added now" : `watched ${counted(count)}×`);
      if (isNew) badges.append(badge("new", "new"));
      else if (count === 0) badges.append(badge("new", "not in training"));
    },
    () => {}, // a card without it
  );
}

// An item of a list: `rank` and `score` where it has them, `unit` says what the score is.
function card(item, { unit = "", isNext = false } = {}) {
  const frame = picture(item);
  if (item.rank) {
    frame.append(element("span", { className: "rank" }, element("span", { className: "unseen", text: "Rank " }), counted(item.rank)));
  }
  const name = element("span", { className: "name", title: nameOf(item) }, isolated(shortened(nameOf(item))));
  const open = element("button", { type: "button", className: "open" }, frame, name);
  open.addEventListener("click", () => showVideo(item));
  const facts = element("p", { className: "facts" });
  if (typeof item.score === "number") {
    facts.append(`${unit} `, element("data", { value: item.score, text: Number(item.score.toPrecision(4)) }));
  }
  const badges = element("p", { className: "badges" });
  if (isNext) badges.append(badge("next", "watched next"));
  addCounts(item, facts, badges);
  return element("li", { className: `card${isNext ? " is-next" : ""}` }, open, facts, badges);
}

function cards(items, label, options = () => ({})) {
  const list = element("ol", { className: "cards" }, ...items.map((item) => card(item, options(item))));
  list.setAttribute("aria-label", label);
  return list;
}

function userList(users, pick) {
  const buttons = users.map((user) => {
    const button = element("button", { type: "button", className: "pill" }, "User ", isolated(shortened(printable(user), 24)));
    button.addEventListener("click", () => pick(user));
    return element("li", {}, button);
  });
  return element("ol", { className: "audience" }, ...buttons);
}

// A heading with what comes below it, or with the reason why nothing does.
async function part(level, heading, about, content) {
  const parts = [element(level, { text: heading }), hint(about)];
  try {
    parts.push(await content());
  } catch (error) {
    parts[1] = element("p", { className: "note", text: printable(error.message) });
  }
  return parts;
}
