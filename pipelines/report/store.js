"use strict";
// What the scripts of data hand over (`videos.js` at once, `details-NNNN.js` when asked for), and how
// elements are made. Texts only ever become text nodes and attributes, so names need no escaping.

const store = { flags: [], labels: [], columns: {}, failed: [], count: 0, lowerNames: [] };

const huetrack = (() => {
  const parts = new Map(); // number -> {promise, resolve}
  // The page's policy takes addresses of scripts from here alone.
  const policy = window.trustedTypes
    ? trustedTypes.createPolicy("huetrack", { createScriptURL: (url) => url })
    : { createScriptURL: (url) => url };

  const load = (part) => {
    const name = `gallery/details-${String(part).padStart(4, "0")}.js`;
    let resolve;
    let reject;
    const promise = new Promise((done, failed) => { resolve = done; reject = failed; });
    parts.set(part, { promise, resolve });
    const script = document.createElement("script");
    script.onerror = () => { parts.delete(part); reject(new Error(`${name} cannot be loaded`)); };
    script.src = policy.createScriptURL(name);
    document.head.append(script);
    return promise;
  };

  return {
    videos(content) {
      Object.assign(store, content);
      store.count = content.columns.id.length;
      store.lowerNames = content.columns.id.map((id) => id.toLowerCase());
    },
    details(part, content) {
      parts.get(part)?.resolve(content);
    },
    /** The details of a video. Those of its neighbours come with them. */
    async detailsOf(video) {
      const part = store.columns.part[video];
      return (await (parts.get(part)?.promise ?? load(part)))[video];
    },
  };
})();

/** An element with properties (`class`, `text`, `data-*`, `aria-*`, `on*`) and children. */
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value == null) continue;
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

const filmOf = (video) => `../overlays/${store.columns.url[video]}.mp4`;
const sheetOf = (video) => `../overlays/${store.columns.url[video]}.jpg`;
const percent = (value) => (value == null ? "–" : (value / 100).toFixed(2));
const flagNames = (bits) => store.flags.filter((_, bit) => bits & (1 << bit)).map(([name]) => name.replaceAll("_", " "));
