/**
 * The AI panel: one question at a time, and its answer as it is written.
 *
 * Tokens are numbered. A token that is next is added; one from further on means that something was missed, and the
 * text so far is fetched. So it does not matter when a viewer comes, or whether the connection drops in between.
 */

import { avatar, element, realtime, topicParameter, user } from "/shared/page.js";

const panel = document.getElementById("ai");
const find = (testId) => panel.querySelector(`[data-testid=${testId}]`);
const paper = panel.querySelector(".ai-paper");
const answerText = find("answer");
const button = find("ask");
const input = find("prompt");

const session = topicParameter("session", "lobby");
const topic = realtime.channel(`ai-chat/${session}`);

let answer = { id: 0, count: 0, done: true };
let isAsking = false; // this page's question is on its way
let fetching = null;

// --- the answer -------------------------------------------------------------------------------------------------

function begin({ id, prompt }) {
  if (id <= answer.id) return;
  show({ id, prompt, text: "", count: 0, done: false, interrupted: false });
}

function addToken({ id, index, token }) {
  if (id < answer.id || (id === answer.id && index < answer.count)) return; // known already
  if (id > answer.id || index > answer.count) return void catchUp(); // something was missed
  const follows = isAtEnd();
  answerText.append(token);
  answer.count += 1;
  if (follows) paper.scrollTop = paper.scrollHeight;
}

function finish({ id, count }) {
  if (id < answer.id) return;
  if (id > answer.id || count > answer.count) return void catchUp();
  setWriting(false);
}

function show({ id, prompt, text, count, done, interrupted }) {
  answer = { id, count };
  panel.querySelector(".empty").hidden = true;
  find("question").hidden = false;
  find("question").textContent = prompt;
  answerText.textContent = text;
  find("interrupted").hidden = !interrupted;
  setWriting(!done);
  paper.scrollTop = paper.scrollHeight;
}

function setWriting(isWriting) {
  answer.done = !isWriting;
  panel.dataset.writing = isWriting;
  answerText.dataset.done = !isWriting;
  answerText.setAttribute("aria-busy", isWriting); // it is read aloud when it is complete, not word by word
  showButtons();
}

function showButtons() {
  const isFree = answer.done && !isAsking;
  button.textContent = isFree ? "Ask" : "Writing…";
  for (const each of [button, ...panel.querySelectorAll(".ai-ideas button")]) each.disabled = !isFree;
}

/** Fetch the answer so far. One fetch at a time: a gap seen meanwhile is seen again at the next token. */
function catchUp() {
  fetching ??= fetchAnswer().finally(() => (fetching = null));
  return fetching;
}

async function fetchAnswer() {
  const response = await fetch(`/api/answer?session=${encodeURIComponent(session)}`).catch(() => null);
  if (!response?.ok) return; // the next token, or the next reconnect, tries again
  const stored = (await response.json()).answer;
  if (!stored || stored.id < answer.id) return;
  if (stored.id === answer.id && stored.count <= answer.count && stored.done === answer.done) return;
  show(stored);
}

function isAtEnd() {
  return paper.scrollHeight - paper.scrollTop - paper.clientHeight < 40;
}

topic.onEvent("ai:prompt", ({ data }) => begin(data));
topic.onEvent("ai:token", ({ data }) => addToken(data));
topic.onEvent("ai:done", ({ data }) => finish(data));
topic.onReady(catchUp);

// --- asking -----------------------------------------------------------------------------------------------------

async function ask(prompt) {
  if (!prompt || !answer.done || isAsking) return;
  isAsking = true;
  showButtons();
  find("problem").textContent = "";
  try {
    const response = await fetch("/api/ask", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ session, prompt }),
    });
    if (response.ok) {
      input.value = "";
    } else {
      const { error } = await response.json();
      find("problem").textContent = error[0].toUpperCase() + error.slice(1) + ".";
    }
  } catch {
    find("problem").textContent = "The server cannot be reached.";
  } finally {
    isAsking = false;
    showButtons();
  }
}

panel.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask(input.value.trim());
});
for (const idea of panel.querySelectorAll(".ai-ideas button")) {
  idea.addEventListener("click", () => ask(idea.textContent));
}

// --- viewers ----------------------------------------------------------------------------------------------------

topic.onMembers((members) => {
  find("viewers").textContent = String(members.length);
  const selfFirst = members.toSorted((a, b) => (b.userId === user.id) - (a.userId === user.id));
  panel.querySelector(".people").replaceChildren(
    ...selfFirst.map(({ userId, state }) => {
      const name = String(state.name || userId);
      return element("li", {}, avatar(userId, name), element("span", {}, userId === user.id ? "You" : name));
    }),
  );
});

topic.subscribe();
topic.track({ name: user.name });
