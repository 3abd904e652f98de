// Questions of the reader to the hospital and its answers. While one is open, the centre's clock stands still and no other can be asked.

import { ask, tell } from "./answers.js";

const desk = document.getElementById("desk");
const said = document.getElementById("messages");
const form = document.getElementById("ask");
const state = document.getElementById("asked");
const LOOK_EVERY_SECONDS = 10;
const NAMES = { reader: "You", hospital: "Hospital" };
let waiting = false;
const address = `/messages/${desk.dataset.claim}`;

function show(messages) {
  said.replaceChildren(
    ...messages.flatMap((one) => {
      const who = document.createElement("dt");
      const what = document.createElement("dd");
      who.textContent = NAMES[one.side];
      who.className = one.side;
      what.textContent = one.text;
      return [who, what];
    }),
  );
  waiting = messages.at(-1)?.side === "reader";
  for (const element of form.elements) element.disabled = waiting;
  if (waiting) state.textContent = "The hospital was asked. The clock of this read stands still until it answers.";
  else if (messages.length) state.textContent = "Answered.";
}

async function look() {
  show(await (await ask(address)).json());
}

/** Say why there is no word of the hospital, where waiting does not mend it by itself. */
function sayOver(fault) {
  if (fault.sessionOver) state.textContent = fault.message;
}

async function put() {
  const text = form.elements.text.value;
  if (form.elements.text.disabled) return; // asked once
  for (const element of form.elements) element.disabled = true;
  try {
    await tell(address, { text });
  } catch (fault) {
    for (const element of form.elements) element.disabled = false;
    state.textContent = fault.message;
    return;
  }
  form.reset();
  waiting = true;
  await look();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  put().catch(sayOver); // it was asked; the answer is looked for again soon
});
setInterval(() => {
  if (waiting) look().catch(sayOver);
}, LOOK_EVERY_SECONDS * 1000);
look().catch(sayOver);
