// Lets the session go on while the reader is there: each time a fresh proof of the key, so that a stolen cookie dies by itself.

import { ownKey, proof } from "./key.js";

const desk = document.getElementById("desk");
const clock = document.getElementById("clock");
const SOON_SECONDS = 120;
const ASK_BELOW_SECONDS = 330; // the centre sends a fresh grant when half of ten minutes are left
const ASK_EVERY_SECONDS = 20;
let askedAt = 0;

function secondsLeft() {
  return Math.max(0, Number(desk.dataset.expires) - Math.floor(Date.now() / 1000));
}

/** Ask the hospital to let the session go on; it does if the centre has sent it a fresh grant. */
async function prolong() {
  const ath = sessionStorage.getItem("ath");
  const key = ath ? await ownKey() : undefined;
  if (!key) return;
  const address = `${location.origin}/session`;
  const answer = await fetch("/session", {
    method: "PUT",
    headers: { DPoP: await proof(key, { method: "PUT", address, ath }) },
  });
  if (answer.ok) desk.dataset.expires = String(Date.parse((await answer.json()).expires_at) / 1000);
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
  if (left && left < ASK_BELOW_SECONDS && now - askedAt >= ASK_EVERY_SECONDS) {
    askedAt = now;
    prolong().catch(() => {}); // the network may be away for a moment: asked again soon
  }
}

setInterval(tick, 1000);
tick();
