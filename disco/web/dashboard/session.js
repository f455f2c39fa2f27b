// Requests to the server, with the token of whoever has one. It is kept for this tab only, and sent nowhere else.

import { h } from "./dom.js";

const KEY = "disco.token";
const token = () => sessionStorage.getItem(KEY);

/** The headers that show a token; none without one. */
export const credentials = () => (token() ? { Authorization: `Bearer ${token()}` } : {});

/** The subprotocols by which a WebSocket shows a token; none without one. */
export const subprotocols = () => (token() ? ["disco", `disco.token.${token()}`] : []);

/** Fetch; asks for a token when the server wants one, and tries again with it. */
export async function request(url, options = {}) {
  const answer = await fetch(url, { ...options, headers: { Accept: "application/json", ...options.headers, ...credentials() } });
  if (answer.status !== 401) return answer;
  return (await askForToken((await answer.json()).error)) ? request(url, options) : answer;
}

/** Fetch JSON; what a server refuses becomes an error with its sentence and its fields. */
export async function getJson(url, options) {
  const answer = await request(url, options);
  const body = answer.bodyUsed ? {} : await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const sentence = body.error ?? (answer.status === 401 ? "this needs a token" : `the server answered ${answer.status}`);
    throw Object.assign(new Error(sentence), { status: answer.status, fields: body.fields ?? [] });
  }
  return body;
}

let asking = null;

/** Ask once, however many requests want a token; true if one was given. */
function askForToken(reason) {
  asking ??= new Promise((resolve) => {
    const input = h("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false" });
    const dialog = h(
      "dialog",
      { "aria-labelledby": "token-title", onclose: () => {
        if (dialog.returnValue === "use" && input.value.trim()) sessionStorage.setItem(KEY, input.value.trim());
        dialog.remove();
        asking = null;
        resolve(dialog.returnValue === "use" && input.value.trim() !== "");
      } },
      h(
        "form",
        { method: "dialog", class: "stack" },
        h("h2", { id: "token-title" }, "A token is needed"),
        h("p", { class: "small" }, reason),
        h("div", { class: "field" }, h("label", { for: "token" }, "Token"), input),
        h("p", { class: "small quiet" }, "It is kept until this tab is closed."),
        h("div", { class: "row" }, h("button", { value: "use", class: "primary" }, "Use it"), h("button", { value: "cancel" }, "Cancel")),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
  return asking;
}

/** A link that downloads; where a token is needed, a link alone could not show it. */
export function downloadLink(href, text) {
  return h("a", { href, download: true, onclick: async (event) => {
    if (!token()) return;
    event.preventDefault();
    const answer = await request(href);
    const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1] ?? href.split("/").pop().split("?")[0];
    const link = h("a", { href: URL.createObjectURL(await answer.blob()), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  } }, text);
}
