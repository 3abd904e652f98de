// Shows the thumbprint of this browser's key, making the key at the first visit.

import { ownOrNewKey, thumbprint } from "./key.js";

const shown = document.getElementById("thumbprint");
const copy = document.getElementById("copy");
const message = document.getElementById("message");

try {
  shown.textContent = await thumbprint(await ownOrNewKey());
  copy.disabled = false;
  message.textContent = "The key is kept by this browser and cannot be copied out of it.";
} catch (error) {
  shown.textContent = "no key";
  message.textContent = `This browser cannot make or keep a key (${error.name}). Use a normal window of a current browser.`;
}

copy.addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(shown.textContent);
    message.textContent = "Copied.";
  } catch {
    message.textContent = "This browser does not let the page copy. Mark the thumbprint and copy it yourself.";
  }
});
