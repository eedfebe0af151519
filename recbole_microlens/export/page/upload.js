// A new video: its form, by what the model looks at, and where it lands.

const LOOKS_AT = { video: "frames", image: "cover", cover: "cover", text: "title", title: "title", audio: "sound" };
const FIELD = { video: "video", image: "cover", cover: "cover", text: "title", title: "title", audio: "audio" };
const FILES = ["video", "cover", "audio"];
const USERS_LANDED = 12;

function prepareUpload() {
  const wanted = new Set(model.looks_at.map((name) => FIELD[name]));
  for (const field of FILES) {
    find(`${field}-row`).hidden = !wanted.has(field);
    find(`${field}-file`).required = wanted.has(field);
  }
  find("new-title").required = wanted.has("title");
  find("title-hint").textContent = wanted.has("title") ? "The model looks at it." : "Only shown; the model does not look at it.";
  // A model that knows items by id, but looks at them too, may rank a new one by the latter alone.
  const isCold = !model.can_add_items && wanted.size > 0;
  find("cold-row").hidden = !isCold;
  find("cold").required = isCold;
  find("upload-form").hidden = !model.can_add_items && !isCold;
  find("upload-reason").hidden = model.can_add_items;
  find("upload-reason").textContent = printable(model.reason ?? "");
}

// The id of a new video is its file's name, unless somebody has typed another.
function nameAfter(input) {
  const file = input.files[0];
  const id = find("new-id");
  if (file && (!id.value || id.value === id.dataset.given)) {
    id.value = id.dataset.given = file.name.replace(/\.[^.]*$/, "");
  }
}

for (const field of FILES) {
  find(`${field}-file`).addEventListener("change", (event) => nameAfter(event.target));
}

function formOfUpload() {
  const form = new FormData();
  form.append("item_id", find("new-id").value.trim());
  if (find("new-title").value) form.append("title", find("new-title").value);
  if (!find("cold-row").hidden) form.append("cold", "content");
  for (const field of FILES) {
    const [file] = find(`${field}-file`).files;
    if (file && !find(`${field}-row`).hidden) form.append(field, file);
  }
  return form;
}

async function upload() {
  const button = find("upload-button");
  const said = find("upload-said");
  button.disabled = true;
  said.classList.remove("wrong");
  said.textContent = "Uploading, decoding and ranking …";
  find("landed").replaceChildren();
  try {
    await land(await uploaded(formOfUpload()), find("new-title").value);
  } catch (error) {
    if (error.status === 401 || error.status === 403) askForToken(error.message);
    said.classList.add("wrong");
    said.textContent = printable(error.message);
  } finally {
    button.disabled = false;
  }
}

async function land({ item_id: id, items, seconds }, title) {
  const item = { item_id: id, title };
  model.items = items;
  misses = 0; // it has a picture, even where those of the dataset are gone
  const name = shortened(nameOf(item));
  find("upload-said").textContent = `${name} is ranked among ${counted(items)} videos now, ${seconds.toPrecision(2)} s after the upload.`;
  const parts = aroundVideo(id, "h4");
  if (users.length) {
    const about = `Its rank for some users, before they watched their next video; marked where it is among the first ${wantedCount()}.`;
    parts.push(part("h4", "Where it lands", about, () => landings(id)));
  }
  const heading = element("div", { className: "one" }, picture(item), element("h3", { className: "name" }, isolated(name)), element("p", { className: "badges" }, badge("new", "new")));
  find("landed").replaceChildren(element("div", { className: "panel" }, heading, ...(await Promise.all(parts)).flat()));
}

async function landings(id) {
  const some = [...new Set([find("user").value, ...users])].filter(Boolean).slice(0, USERS_LANDED);
  const body = { users: some, k: Math.min(DEEPEST, model.items), at: "test" };
  const { recommendations } = await posted("recommend", body);
  const rows = recommendations.map(({ user, items }) => landing(user, items.find((item) => item.item_id === id), items.length));
  return element("ul", { className: "landings" }, ...rows);
}

function landing(user, found, length) {
  const who = element("span", {}, "User ", isolated(shortened(printable(user), 24)));
  if (!found) return element("li", {}, who, element("span", { className: "facts", text: `not among the first ${counted(length)}` }));
  const rank = element("strong", {}, element("span", { className: "unseen", text: "rank " }), counted(found.rank));
  const score = element("span", { className: "facts", text: `score ${Number(found.score.toPrecision(4))}` });
  return element("li", { className: found.rank <= wantedCount() ? "hit" : "" }, who, rank, score);
}
