"use strict";
// Keeps a page up to date while somebody looks at it, and says when it is not; everything else works without this.
(() => {
  const EVERY = 2000, LONGEST = 5000, OLD = 10000, CLICK = 400; // milliseconds
  const main = document.querySelector("main[data-live]");
  if (!main) return;
  const mark = document.getElementById("age");
  const opened = Date.now();
  let asOf = opened; // when what is shown was so
  let trouble = ""; // why there is nothing newer
  let isAsking = false;
  let pressedUntil = 0;

  // --- what must not be pulled away from under somebody ---------------------------------------

  addEventListener("blur", release);
  for (const end of ["pointerup", "pointercancel", "keyup"]) addEventListener(end, release, true);
  addEventListener("pointermove", (event) => event.buttons || release(), true); // it was let go of outside
  main.addEventListener("pointerdown", (event) => { if (event.button === 0) pressedUntil = Infinity; }, true);
  main.addEventListener("keydown", () => { pressedUntil = Infinity; }, true);

  function release() {
    if (pressedUntil === Infinity) pressedUntil = Date.now() + CLICK; // the click comes after it
  }

  function paused() {
    const focused = document.activeElement, selection = getSelection();
    if (main.contains(focused) && focused.matches("input, textarea, select")) return "Paused while you are in a field.";
    if (Date.now() < pressedUntil) return "Paused while something is pressed.";
    return !selection.isCollapsed && selection.containsNode(main, true) ? "Paused while text is selected." : "";
  }

  // --- what is new ------------------------------------------------------------------------------

  async function refresh() {
    if (isAsking || document.hidden || paused()) return;
    isAsking = true;
    try {
      const url = new URL(location.href);
      url.searchParams.delete("done");
      const asked = Date.now();
      // A redirect leads to where one signs in.
      const answer = await fetch(url, { headers: { Accept: "text/html" }, redirect: "manual", signal: AbortSignal.timeout(LONGEST) });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = answer.ok && page.querySelector("main[data-live]");
      trouble = fresh ? "" : "The console answers with something else: reload the page.";
      if (fresh && !paused()) {
        show(fresh);
        asOf = asked;
      }
    } catch {
      trouble = "The console does not answer.";
    }
    isAsking = false;
    tell();
  }

  function tell() {
    const isOld = Date.now() - asOf > OLD;
    const time = new Date(asOf).toLocaleTimeString("en-GB");
    const words = isOld ? `Not up to date: as of ${time} by your clock. ${paused() || trouble}` : "";
    if (mark.textContent !== words) mark.textContent = words;
  }

  // What is as it was stays where it is; of the rest that is kept which the server does not know of.
  function show(fresh) {
    const focused = document.activeElement;
    const said = main.querySelector(":scope > .said");
    if (said && Date.now() - opened < OLD) fresh.prepend(said.cloneNode(true)); // time to read it
    const open = new Map([...main.querySelectorAll("details")].map((one) => [one.id, one.open]));
    for (const one of fresh.querySelectorAll("details")) one.open = open.get(one.id) ?? one.open;
    const across = [...main.querySelectorAll(".scroll")].map((one) => [one, one.scrollLeft]);
    const old = [...main.childNodes];
    const nodes = [...fresh.childNodes].map((node) => {
      const same = old.findIndex((one) => one.isEqualNode(node));
      return same < 0 ? node : old.splice(same, 1)[0];
    });
    for (const node of old) node.remove();
    nodes.forEach((node, place) => {
      if (main.childNodes[place] !== node) main.insertBefore(node, main.childNodes[place] ?? null);
    });
    for (const [one, left] of across) now(one)?.scrollTo({ left, behavior: "instant" });
    if (!focused.isConnected) now(focused)?.focus({ preventScroll: true });
  }

  function now(old) {
    const mark = (one) => one.id || one.getAttribute("href") || one.getAttribute("aria-label") || one.textContent;
    return old.isConnected ? old : [...main.querySelectorAll(old.localName)].find((one) => mark(one) === mark(old));
  }

  setInterval(refresh, EVERY);
  setInterval(tell, EVERY / 2);
  document.addEventListener("visibilitychange", refresh);
})();
