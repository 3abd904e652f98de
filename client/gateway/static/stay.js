// Lets the session go on while the reader is there: each time a fresh proof of the key, so that a stolen cookie dies by itself.

import { ask } from "./answers.js";
import { ownKey, proof } from "./key.js";

const desk = document.getElementById("desk");
const clock = document.getElementById("clock");
const SOON_SECONDS = 120;
const ASK_BELOW_SECONDS = 330; // the centre sends a fresh grant when half of ten minutes are left
const ASK_EVERY_SECONDS = 20;
const tabs = new BroadcastChannel("session"); // other tabs of this hospital have the same session
let askedAt = 0;
let ended = false;
let follows = false; // a later tab proves that the reader is there; this one does only when it has not for long

function secondsLeft() {
  return ended ? 0 : Math.max(0, Number(desk.dataset.expires) - Math.floor(Date.now() / 1000));
}

function lasts(until) {
  desk.dataset.expires = String(until);
  ended = false;
}

function tellTabs() {
  tabs.postMessage({ request: desk.dataset.request, until: Number(desk.dataset.expires) });
}

/** Ask the hospital to let the session go on; it does if the centre has sent it a fresh grant. */
async function prolong() {
  const ath = sessionStorage.getItem("ath");
  const key = ath ? await ownKey() : undefined;
  if (!key) return; // not the tab that opened the grant: that one says how long it lasts
  const address = `${location.origin}/session`;
  const answer = await ask("/session", {
    method: "PUT",
    headers: { DPoP: await proof(key, { method: "PUT", address, ath }) },
  });
  const { request_id: request, expires_at: until } = await answer.json();
  if (request !== desk.dataset.request) return; // the browser shows another read of this hospital now
  lasts(Date.parse(until) / 1000);
  tellTabs();
}

/** Say how long the grant lasts. With little left none has come for minutes: nobody tells the centre that the reader is still there. */
function words(left) {
  if (!left) return "grant ended: open the read from your worklist";
  const time = `grant ${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  return left < SOON_SECONDS ? `${time}: open your worklist to stay` : time;
}

function tick() {
  const left = secondsLeft();
  clock.textContent = words(left);
  clock.classList.toggle("soon", left < SOON_SECONDS);
  const now = Date.now() / 1000;
  if (left && left < (follows ? SOON_SECONDS : ASK_BELOW_SECONDS) && now - askedAt >= ASK_EVERY_SECONDS) {
    askedAt = now;
    prolong().catch((fault) => {
      ended = fault.sessionOver === true; // else the network may be away for a moment: asked again soon
    });
  }
}

tabs.onmessage = ({ data: { request, until } }) => {
  if (request !== desk.dataset.request) return;
  lasts(until);
  follows = true;
};
tellTabs(); // a tab of the same read whose session had ended goes on
setInterval(tick, 1000);
tick();
