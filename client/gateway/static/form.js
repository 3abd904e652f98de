// The report form: the reader's last version, total of the zones, hints, sending.

import { ask, tell } from "./answers.js";

const desk = document.getElementById("desk");
const form = document.getElementById("form");
const message = document.getElementById("message");
const SIDES = ["right", "left"];
const THIRDS = ["upper", "middle", "lower"];
const OPTIONAL = ["bsti", "distribution", "laterality", "effusion", "comparison", "alternative", "incidental"];
const PERCENTS = ["ggo_percent", "consolidation_percent"];
const address = `/reports/${desk.dataset.claim}`;
let touched = false;

function zones() {
  const points = (side) => Object.fromEntries(THIRDS.map((third) => [third, form.elements[`${side}.${third}`].value]));
  return Object.fromEntries(SIDES.map((side) => [side, points(side)]));
}

function showTotal() {
  const fields = SIDES.flatMap((side) => THIRDS.map((third) => form.elements[`${side}.${third}`]));
  const complete = fields.every((field) => field.checkValidity()); // six whole numbers from 0 to 4
  document.getElementById("total").value = complete ? fields.reduce((sum, field) => sum + field.valueAsNumber, 0) : "–";
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
  for (const name of PERCENTS) {
    form.elements[name].required = differs;
    form.elements[name].disabled = !differs; // else what nobody sees could keep the form from being sent
  }
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
  const content = await (await ask(address)).json();
  if (touched) {
    say(`The hospital holds version ${content.version} already. What you send now takes its place.`, "faint");
    return;
  }
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
    touched = false; // what is written from now on is not in this version
    const content = await tell(address, report());
    say(`The hospital holds version ${content.version}.${desk.dataset.drawn === "open" ? " Your corrected mask is not handed in yet." : ""}`, "good");
    showKept(content);
  } catch (error) {
    touched = true;
    say(error.message, "bad");
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
addEventListener("beforeunload", (event) => {
  if (touched) event.preventDefault(); // words that only this page has
});
if (desk.dataset.kept) {
  recall().catch((error) => say(`Your last version could not be fetched from the hospital, so the form is empty. ${error.message}`, "bad"));
}
