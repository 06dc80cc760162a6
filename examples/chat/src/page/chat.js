/** The chat panel: messages that are kept, people who are here, and who is typing. */

import { avatar, element, realtime, topicParameter, user } from "/shared/page.js";

const PAGE_SIZE = 50;
const CATCH_UP_PAGES = 10;
const TYPING_EVERY_MS = 2_000;
const TYPING_SHOWN_MS = 4_000;

const panel = document.getElementById("chat");
const find = (testId) => panel.querySelector(`[data-testid=${testId}]`);
const nameInput = find("name");
const input = find("message-input");
const list = find("messages");
const log = panel.querySelector(".chat-log");
const empty = panel.querySelector(".empty");
const earlier = panel.querySelector(".chat-earlier");
const jump = panel.querySelector(".chat-jump");

const room = realtime.channel(`chat/${topicParameter("room", "general")}`);
const messages = new Map(); // id -> { at, node }, whatever way a message came in
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

// --- messages ---------------------------------------------------------------------------------------------------

/** Put a message on the screen once, in the order of the server's time; one that is still being sent stands last. */
function show({ id, by, name, text, at = Infinity, state = "sent" }) {
  const known = messages.get(id);
  if (known && (known.at !== Infinity || at === Infinity)) return;
  known?.node.remove();
  const node = messageNode({ by, name, text, at, state });
  messages.set(id, { at, node });
  const wasAtEnd = isAtEnd();
  let next = null;
  for (let other = list.lastElementChild; other && Number(other.dataset.at) > at; other = other.previousElementSibling) {
    next = other;
  }
  list.insertBefore(node, next);
  empty.hidden = true;
  if (wasAtEnd || by === user.id) scrollToEnd();
  else if (!next) jump.hidden = false;
}

function messageNode({ by, name, text, at, state }) {
  const note = at === Infinity ? "Sending" : clock.format(at);
  return element(
    "li",
    { className: "message", dataset: { testid: "message", own: by === user.id, at, state } },
    avatar(by, name),
    element("p", { className: "message-by" }, name, element("time", {}, note)),
    element("p", { className: "message-text" }, text),
  );
}

function showFrame({ id, data, userId, timestamp }) {
  show({ id, by: userId ?? "", name: data.name, text: data.text, at: timestamp });
  stopTyping(userId);
}

function showStored({ id, data, user_id, event, created_at }) {
  if (event === "message" || event === "chat_message") show({ id, by: user_id ?? "", name: data.name, text: data.text, at: created_at });
}

/** Fetch stored messages backwards, until they meet what is already on the screen. */
async function catchUp() {
  const isFirst = messages.size === 0;
  let before;
  for (let page = 0; page < CATCH_UP_PAGES; page += 1) {
    const stored = await room.history({ limit: PAGE_SIZE, before });
    const meets = stored.some(({ id }) => messages.get(id)?.at < Infinity);
    stored.forEach(showStored);
    if (isFirst) earlier.hidden = stored.length < PAGE_SIZE;
    if (isFirst || meets || stored.length < PAGE_SIZE) return;
    before = stored[0].created_at;
  }
}

async function showEarlier() {
  const first = list.firstElementChild;
  const stored = await room.history({ limit: PAGE_SIZE, before: Number(first.dataset.at) });
  earlier.hidden = stored.length < PAGE_SIZE;
  const distance = log.scrollHeight - log.scrollTop;
  stored.forEach(showStored);
  log.scrollTop = log.scrollHeight - distance; // what one was reading stays where it was
}

function send(event) {
  event.preventDefault();
  const text = input.value.trim();
  if (!text) return;
  const id = room.publish("message", { name: myName(), text }, { persist: true });
  if (id === null) return; // too much is waiting for the connection: the text stays in the field
  show({ id, by: user.id, name: myName(), text, state: "sending" });
  input.value = "";
  typedAt = -Infinity;
}

function isAtEnd() {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 60;
}

function scrollToEnd() {
  log.scrollTop = log.scrollHeight;
  jump.hidden = true;
}

room.onEvent("message", showFrame);
room.onEvent("chat_message", showFrame); // what is said with the public clients' chat()
room.onReady(() => catchUp().catch((error) => console.error(error)));
room.onRefused(({ id, message }) => {
  const refused = messages.get(id)?.node;
  if (!refused) return;
  refused.dataset.state = "refused";
  refused.querySelector("time").textContent = `Not sent: ${message}`;
});
panel.querySelector("form").addEventListener("submit", send);
earlier.addEventListener("click", showEarlier);
jump.addEventListener("click", scrollToEnd);
log.addEventListener("scroll", () => isAtEnd() && (jump.hidden = true), { passive: true });

// --- people -----------------------------------------------------------------------------------------------------

nameInput.value = user.name;

function myName() {
  return nameInput.value.trim() || user.name;
}

function showPeople(members) {
  const named = members.map(({ userId, state }) => ({ userId, name: String(state.name || userId) }));
  named.sort((a, b) => a.name.localeCompare(b.name));
  panel.querySelector(".chat-count").textContent = String(named.length);
  find("presence").replaceChildren(
    ...named.map(({ userId, name }) => {
      const label = userId === user.id ? `${name} (you)` : name;
      return element("li", { dataset: { testid: "member", user: userId } }, avatar(userId, name), element("span", {}, label));
    }),
  );
}

room.onMembers(showPeople);
nameInput.addEventListener("change", () => room.track({ name: myName() }));

// --- typing -----------------------------------------------------------------------------------------------------

const typing = new Map(); // user id -> { name, timer }
let typedAt = -Infinity;

function showTyping() {
  const names = [...typing.values()].map(({ name }) => name);
  const [first, second] = names;
  let text = "";
  if (names.length === 1) text = `${first} is typing…`;
  else if (names.length === 2) text = `${first} and ${second} are typing…`;
  else if (names.length > 2) text = "Several people are typing…";
  find("typing").textContent = text;
}

function stopTyping(userId) {
  clearTimeout(typing.get(userId)?.timer);
  if (typing.delete(userId)) showTyping();
}

room.onEvent("typing", ({ userId, data }) => {
  if (userId === user.id) return;
  clearTimeout(typing.get(userId)?.timer);
  typing.set(userId, { name: data.name, timer: setTimeout(() => stopTyping(userId), TYPING_SHOWN_MS) });
  showTyping();
});

input.addEventListener("input", () => {
  if (!input.value.trim() || performance.now() - typedAt < TYPING_EVERY_MS) return;
  typedAt = performance.now();
  room.publish("typing", { name: myName() });
});

room.subscribe();
room.track({ name: myName() });
