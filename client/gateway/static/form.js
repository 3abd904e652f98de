// The report form: the reader's last version, total of the zones, hints, sending.

const desk = document.getElementById("desk");
const form = document.getElementById("form");
const message = document.getElementById("message");
const SIDES = ["right", "left"];
const THIRDS = ["upper", "middle", "lower"];
const OPTIONAL = ["bsti", "distribution", "laterality", "effusion", "comparison", "alternative", "incidental"];
const address = `/reports/${desk.dataset.claim}`;
let touched = false;

function zones() {
  const points = (side) => Object.fromEntries(THIRDS.map((third) => [third, form.elements[`${side}.${third}`].value]));
  return Object.fromEntries(SIDES.map((side) => [side, points(side)]));
}

function showTotal() {
  const values = SIDES.flatMap((side) => Object.values(zones()[side]));
  const complete = values.every((value) => value !== "");
  document.getElementById("total").value = complete ? values.reduce((sum, value) => sum + Number(value), 0) : "–";
}

function checkCorads() {
  const proven = form.elements.corads.value === "6" && form.elements.pcr.value !== "positive";
  form.elements.corads.setCustomValidity(proven ? "CO-RADS 6 needs a positive PCR." : "");
}

/** A study that cannot be interpreted has no class: CO-RADS 0 says so. */
function checkQuality() {
  const unreadable = form.elements.quality.value === "0" && form.elements.corads.value !== "0";
  if (unreadable) form.elements.corads.setCustomValidity("A study that cannot be interpreted is CO-RADS 0.");
}

function showEdited() {
  const differs = form.elements.agrees.value === "no";
  document.getElementById("edited").hidden = !differs;
  form.elements.ggo_percent.required = differs;
  form.elements.consolidation_percent.required = differs;
}

function numbers(side) {
  return Object.fromEntries(Object.entries(side).map(([third, value]) => [third, Number(value)]));
}

function review() {
  if (form.elements.agrees.value === "yes") return { agrees: true };
  return {
    agrees: false,
    ggo_percent: Number(form.elements.ggo_percent.value),
    consolidation_percent: Number(form.elements.consolidation_percent.value),
  };
}

/** What may be left unsaid: an empty choice is not sent. */
function chosen() {
  return Object.fromEntries(OPTIONAL.map((name) => [name, form.elements[name].value]).filter(([, value]) => value !== ""));
}

function report() {
  const { right, left } = zones();
  return {
    ...chosen(),
    quality: Number(form.elements.quality.value),
    signs: [...form.querySelectorAll("[name=signs]:checked")].map((box) => box.value),
    rsna_class: form.elements.rsna_class.value,
    corads: Number(form.elements.corads.value),
    pcr: form.elements.pcr.value,
    zones: { right: numbers(right), left: numbers(left) },
    measurement: review(),
    critical: form.elements.critical.checked,
    impression: form.elements.impression.value,
  };
}

/** Write a version that the hospital holds into the form, as `report` takes it out. */
function fill(content) {
  for (const name of [...OPTIONAL, "quality", "rsna_class", "corads", "pcr", "impression"]) {
    form.elements[name].value = content[name] ?? "";
  }
  for (const side of SIDES) {
    for (const third of THIRDS) form.elements[`${side}.${third}`].value = content.zones[side][third];
  }
  for (const box of form.querySelectorAll("[name=signs]")) box.checked = content.signs.includes(box.value);
  form.elements.agrees.value = content.measurement.agrees ? "yes" : "no";
  form.elements.ggo_percent.value = content.measurement.ggo_percent ?? "";
  form.elements.consolidation_percent.value = content.measurement.consolidation_percent ?? "";
  form.elements.critical.checked = content.critical;
  check();
}

function say(text, tone) {
  message.textContent = text;
  message.className = tone;
}

function showKept(answer) {
  document.getElementById("version").textContent = answer.version;
  document.getElementById("sha256").textContent = answer.report_sha256;
  document.getElementById("kept").hidden = answer.status !== "preliminary";
  document.getElementById("submit").textContent = "Send a corrected version";
}

/** Go on from the reader's own last version: after a question, an amendment or a closed tab the form is not empty. */
async function recall() {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(answer.status);
  if (touched) return;
  const content = await answer.json();
  fill(content.report.content);
  showKept(content);
  say(content.status === "preliminary" ? "" : `Version ${content.version} is signed. What you send now amends it.`, "faint");
}

async function send(event) {
  event.preventDefault();
  const button = document.getElementById("submit");
  button.disabled = true;
  say("Sending …", "faint");
  try {
    const answer = await fetch(address, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(report()),
    });
    const content = await answer.json();
    if (answer.ok) {
      say(`The hospital holds version ${content.version}.`, "good");
      showKept(content);
    } else if (answer.status === 401 || content.code === "grant-invalid") {
      say("Your grant has ended. Open the read again from the worklist in another tab, then send this form again: nothing is lost.", "bad");
    } else {
      say(content.detail, "bad");
    }
  } catch {
    say("The hospital cannot be reached. Check your network and send again: nothing is lost.", "bad");
  } finally {
    button.disabled = false;
  }
}

function check() {
  showTotal();
  checkCorads();
  checkQuality();
  showEdited();
}

form.addEventListener("input", () => {
  touched = true;
  check();
});
form.addEventListener("submit", send);
if (desk.dataset.kept) {
  recall().catch(() => say("Your last version could not be fetched from the hospital. Open the study again.", "bad"));
}
