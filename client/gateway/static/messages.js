// Questions of the reader to the hospital and its answers. While one is open, the centre's clock stands still and no other can be asked.

const desk = document.getElementById("desk");
const said = document.getElementById("messages");
const form = document.getElementById("ask");
const state = document.getElementById("asked");
const LOOK_EVERY_SECONDS = 10;
const NAMES = { reader: "You", hospital: "Hospital" };
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
  const waiting = messages.at(-1)?.side === "reader";
  for (const element of form.elements) element.disabled = waiting;
  if (waiting) state.textContent = "The hospital was asked. The clock of this read stands still until it answers.";
  else if (messages.length) state.textContent = "Answered.";
}

async function look() {
  const answer = await fetch(address);
  if (answer.ok) show(await answer.json());
}

async function ask(event) {
  event.preventDefault();
  const answer = await fetch(address, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ text: form.elements.text.value }),
  });
  if (!answer.ok) {
    state.textContent = (await answer.json()).detail;
    return;
  }
  form.reset();
  await look();
}

form.addEventListener("submit", (event) => {
  ask(event).catch(() => {
    state.textContent = "The hospital does not answer. Try again.";
  });
});
setInterval(() => {
  if (form.elements.text.disabled) look().catch(() => {}); // the network may be away for a moment: looked again soon
}, LOOK_EVERY_SECONDS * 1000);
look().catch(() => {});
