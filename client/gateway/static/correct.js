// The toolbar of the brush: which label, how large, undo, send.

const bar = document.getElementById("brushes");
const said = document.getElementById("corrected");

function chosen() {
  return {
    label: Number(bar.querySelector("[data-label][aria-pressed=true]").dataset.label),
    size: Number(document.getElementById("pen").value),
    filled: document.getElementById("filled").checked,
  };
}

async function attempt(what) {
  try {
    await what();
  } catch (error) {
    said.textContent = error.message;
    said.className = "bad";
  }
}

async function send(brush, button) {
  button.disabled = true;
  said.textContent = "Sending …";
  said.className = "faint";
  await attempt(async () => {
    const kept = await brush.send();
    said.textContent = `Held by the hospital: ground glass ${kept.ground_glass_ml} ml, consolidation ${kept.consolidation_ml} ml.`;
    said.className = "good";
  });
  button.disabled = false;
}

/** Wire the toolbar to a brush. */
export function correctWith(brush) {
  const begin = document.getElementById("correct");
  begin.disabled = false;
  begin.addEventListener("click", () => attempt(async () => {
    const on = begin.getAttribute("aria-pressed") !== "true";
    if (on) await brush.start();
    else brush.stop();
    begin.setAttribute("aria-pressed", String(on));
    bar.hidden = !on;
    brush.use(chosen());
  }));
  for (const button of bar.querySelectorAll("[data-label]")) {
    button.addEventListener("click", () => {
      for (const other of bar.querySelectorAll("[data-label]")) other.setAttribute("aria-pressed", String(other === button));
      brush.use(chosen());
    });
  }
  for (const id of ["pen", "filled"]) document.getElementById(id).addEventListener("input", () => brush.use(chosen()));
  document.getElementById("undo").addEventListener("click", () => brush.undo());
  document.getElementById("reset").addEventListener("click", () => attempt(() => brush.reset()));
  const keep = document.getElementById("keep");
  keep.addEventListener("click", () => send(brush, keep));
}
