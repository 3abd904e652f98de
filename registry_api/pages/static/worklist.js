// Keeps the reader's leases while the worklist is open, and shows a read's new state when it has one.

/** Send one heartbeat and say whether the read is where this page shows it. */
async function unchanged(card) {
  const answer = await fetch(`/v1/claims/${card.dataset.claim}/heartbeat`, {
    method: "PUT",
    headers: { "X-CSRF-Token": card.dataset.csrf },
  });
  return answer.ok && (await answer.json()).state === card.dataset.state;
}

async function beat() {
  const cards = [...document.querySelectorAll("[data-claim]")];
  const same = await Promise.all(cards.map(unchanged));
  const typing = document.activeElement?.matches("input");
  if (!same.every(Boolean) && !typing) location.reload();
}

// The network may be away for a moment: the next beat tries again, and the lease outlasts many of them.
const everyMs = Number(document.getElementById("in-hand").dataset.beatMs);
setInterval(() => beat().catch((error) => console.warn(error.message)), everyMs);
