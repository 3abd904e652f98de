// One way to ask the hospital: an answer that is none becomes an error that says what happened and what to do next.

const SESSION_OVER = new Set(["unauthenticated", "grant-invalid"]);
const UNREACHABLE = "The hospital cannot be reached. Check your network and try again: nothing on this page is lost.";
const REOPEN = "Your grant has ended. Open the read again from the worklist in another tab, then try again here: nothing on this page is lost.";
const OTHER_READ = "The hospital shows this browser another read now, because it was opened since. Open this one again from the worklist in another tab, then try again here.";

/** What the hospital did not do, in words for the reader. */
export class Refusal extends Error {
  constructor(message, code, status) {
    super(message);
    this.code = code; // of the hospital's answer; "" where there was none
    this.status = status; // 0 where there was no answer
  }

  /** Whether it may go well later without another word: nobody answered, or the read has to be opened again. */
  get passes() {
    return this.status === 0 || this.status >= 500 || SESSION_OVER.has(this.code) || this.code === "not-found";
  }

  get sessionOver() {
    return SESSION_OVER.has(this.code);
  }
}

function worded({ detail, code }) {
  if (SESSION_OVER.has(code)) return REOPEN;
  return code === "not-found" ? OTHER_READ : detail;
}

async function refusalOf(answer) {
  const content = await answer.json().catch(() => null); // a proxy's page is no answer of the hospital's
  if (!content?.code) return new Refusal(`The hospital answers with error ${answer.status}. Try again in a minute.`, "", answer.status);
  return new Refusal(worded(content), content.code, answer.status);
}

/** Return the hospital's answer, or throw a `Refusal`. All that is asked here is the session's own. */
export async function ask(address, options = {}) {
  const answer = await fetch(address, options).catch(() => {
    throw new Refusal(UNREACHABLE, "", 0);
  });
  if (!answer.ok) throw await refusalOf(answer);
  return answer;
}

/** Send a document and return the one that comes back. */
export async function tell(address, content) {
  const answer = await ask(address, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(content),
  });
  return answer.json();
}
