// What the server says now, over server-sent events, and a sign in the header whether it is heard.
// Read with fetch: an EventSource cannot show a token.

import { request } from "./session.js";

const AGAIN = 2000;

/** Hand every state that a stream brings to `use`, for ever: a stream that ends is opened again. */
export async function listen(url, use) {
  const sign = document.getElementById("live");
  const tell = (state, text) => {
    if (sign.dataset.state === state) return;
    sign.dataset.state = state;
    sign.textContent = text;
  };
  const gone = new AbortController();
  addEventListener("pagehide", () => gone.abort(), { once: true });
  addEventListener("pageshow", (event) => event.persisted && listen(url, use), { once: true });
  tell("waiting", "connecting");
  while (!gone.signal.aborted) {
    try {
      const answer = await request(url, { signal: gone.signal, headers: { Accept: "text/event-stream" } });
      if (answer.ok) {
        tell("live", "live");
        for await (const state of states(answer.body)) use(state);
      }
    } catch (error) {
      if (gone.signal.aborted) return;
      if (!(error instanceof TypeError)) throw error; // the network's errors are TypeErrors
    }
    tell("lost", "reconnecting");
    await new Promise((resolve) => setTimeout(resolve, AGAIN));
  }
}

/** Read the `data` of each event. Source: HTML Living Standard, server-sent events; ours have one line of it. */
async function* states(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const line = event.split("\n").find((one) => one.startsWith("data: "));
      if (line) yield JSON.parse(line.slice("data: ".length));
    }
  }
}
