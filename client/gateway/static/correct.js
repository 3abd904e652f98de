// The toolbar of the brush: which label, how large, undo, hand in; and what has become of the drawing so far.

const bar = document.getElementById("brushes");
const said = document.getElementById("corrected");
const begin = document.getElementById("correct");

function chosen() {
  return {
    label: Number(bar.querySelector("[data-label][aria-pressed=true]").dataset.label),
    size: Number(document.getElementById("pen").value),
    filled: document.getElementById("filled").checked,
  };
}

function say(text, tone) {
  said.textContent = text;
  said.className = tone;
}

/** Do something that may fail, with its button out of reach meanwhile. */
async function attempt(button, what) {
  button.disabled = true;
  try {
    await what();
  } catch (error) {
    say(error.message, "bad");
  } finally {
    button.disabled = false;
  }
}

/** Say how far the drawing has come: until it is handed in it counts for nothing. */
function showState({ uploads, handedIn }) {
  document.getElementById("desk").dataset.drawn = uploads.number && !handedIn ? "open" : "";
  const waits = uploads.waiting.length;
  if (uploads.fault) say(`${waits} ${waits === 1 ? "stroke is" : "strokes are"} not at the hospital yet. ${uploads.fault.message}`, "bad");
  else if (waits) say("Keeping …", "faint");
  else if (uploads.number && !handedIn) say("Kept by the hospital, not handed in yet.", "faint");
}

async function handIn(brush) {
  say("Handing in …", "faint");
  const kept = await brush.handIn();
  showState(brush);
  say(`Held by the hospital: ground glass ${kept.ground_glass_ml} ml, consolidation ${kept.consolidation_ml} ml. It becomes a label when your report is signed.`, "good");
}

async function toggle(brush) {
  const on = begin.getAttribute("aria-pressed") !== "true";
  if (on) document.querySelector("#measure[aria-pressed=true]")?.click(); // the left button does one of the two
  if (on) await brush.start();
  else brush.stop();
  begin.setAttribute("aria-pressed", String(on));
  bar.hidden = !on;
  brush.use(chosen());
  if (on) showState(brush);
}

/** Wire the toolbar to a brush. */
export function correctWith(brush) {
  begin.disabled = false;
  begin.addEventListener("click", () => attempt(begin, () => toggle(brush)));
  for (const button of bar.querySelectorAll("[data-label]")) {
    button.addEventListener("click", () => {
      for (const other of bar.querySelectorAll("[data-label]")) other.setAttribute("aria-pressed", String(other === button));
      brush.use(chosen());
    });
  }
  for (const id of ["pen", "filled"]) document.getElementById(id).addEventListener("input", () => brush.use(chosen()));
  document.getElementById("undo").addEventListener("click", () => takeBack(brush));
  const [reset, keep] = ["reset", "keep"].map((id) => document.getElementById(id));
  reset.addEventListener("click", () => attempt(reset, () => brush.reset()));
  keep.addEventListener("click", () => attempt(keep, () => handIn(brush)));
  brush.uploads.onChange = () => {
    if (!keep.disabled) showState(brush);
  };
}

/** Take the last stroke back, while the brush is out. */
export function takeBack(brush) {
  if (!bar.hidden && !brush.undo()) say("There is no stroke of this page to take back.", "faint");
}
