"use strict";
// The page: choices on top, the list, the video on show, keys and the address.

(() => {
  const find = (selector) => document.querySelector(selector);
  const controls = {
    text: find("#search"), show: find("#show"), label: find("#label"), order: find("#order"),
    reverse: find("#reverse"), chips: find("#flags"), count: find("#count"),
  };
  const failure = find("#failure");
  const empty = find("#empty");
  const address = new Address(() => player.place(), follow);
  const player = new Player(find("#player"), () => address.write());
  const list = new VideoList(find("#list"), choose);
  const ALL = { show: "labelled", kind: "", text: "", label: -1, bits: 0 };
  const choice = { ...ALL, order: "help", reversed: false };

  const option = (value, text) => element("option", { value, text });

  function fillControls() {
    controls.show.append(option("labelled", `labelled videos (${store.count.toLocaleString()})`));
    if (store.failed.length) {
      controls.show.append(option("failed", `failed videos (${store.failed.length.toLocaleString()})`));
      for (const [kind, count] of query.failureCounts()) {
        controls.show.append(option(`failed:${kind}`, `failed: ${kind} (${count.toLocaleString()})`));
      }
    }
    const counts = query.labelCounts();
    controls.label.append(option(-1, "all objects"), ...store.labels
      .map((name, place) => [name, place])
      .sort(([a], [b]) => a.localeCompare(b, undefined, { numeric: true }))
      .map(([name, place]) => option(place, `${name} (${counts[place].toLocaleString()})`)));
    query.flagCounts().forEach((count, bit) => {
      if (!count) return;
      const [name, meaning] = store.flags[bit];
      const chip = element("button", {
        type: "button", class: "chip", "aria-pressed": "false", title: meaning,
        onclick: () => {
          choice.bits ^= 1 << bit;
          chip.setAttribute("aria-pressed", String(Boolean(choice.bits & (1 << bit))));
          update();
        },
      }, name.replaceAll("_", " "), element("span", { text: count.toLocaleString() }));
      chip.dataset.flag = name;
      controls.chips.append(chip);
    });
  }

  function refresh() {
    const lines = query.lines(choice);
    const all = choice.show === "failed" ? store.failed.length : store.count;
    controls.count.textContent = lines.length === all
      ? `${all.toLocaleString()} videos` : `${lines.length.toLocaleString()} of ${all.toLocaleString()} videos`;
    empty.hidden = lines.length > 0;
    list.show(lines);
  }

  function update() {
    refresh();
    if (list.lines.length) list.choose(0);
    else {
      hidePlayer();
      failure.hidden = true;
    }
  }

  function hidePlayer() {
    player.hide();
    address.write();
  }

  function choose({ video, failed }, frame = 0) {
    failure.hidden = failed === undefined;
    if (failed !== undefined) {
      hidePlayer();
      const [id, kind, message] = store.failed[failed];
      failure.replaceChildren(
        element("h2", {}, element("bdi", { text: id })),
        element("p", { class: "kind", text: kind }),
        element("p", { class: "message", text: message }),
      );
      return;
    }
    player.show(video, frame).catch((error) => { controls.count.textContent = error.message; });
  }

  function listen() {
    controls.text.addEventListener("input", () => {
      choice.text = controls.text.value.trim().toLowerCase();
      update();
    });
    controls.show.addEventListener("change", () => {
      [choice.show, choice.kind = ""] = controls.show.value.split(/:(.*)/, 2);
      update();
    });
    controls.label.addEventListener("change", () => { choice.label = Number(controls.label.value); update(); });
    controls.order.addEventListener("change", () => { choice.order = controls.order.value; update(); });
    controls.reverse.addEventListener("click", () => {
      choice.reversed = !choice.reversed;
      controls.reverse.setAttribute("aria-pressed", String(choice.reversed));
      update();
    });
    document.addEventListener("keydown", onKey);
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input, select, textarea");
    if (typing) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.key === " " && event.target.matches("button")) return; // presses the button
    const action = {
      j: () => list.step(1), k: () => list.step(-1), " ": () => player.toggle(),
      n: () => player.toFlag(1), p: () => player.toFlag(-1), a: () => player.toAdvice(),
      ",": () => player.pauseAt(player.frameNow() - 1), ".": () => player.pauseAt(player.frameNow() + 1),
      "/": () => controls.text.focus(),
    }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  /** Go where a link leads, through the choices if they leave its video out. */
  function follow({ name, video, frame }) {
    if (video < 0) {
      controls.count.textContent = `no video has the name ${name}`;
      return;
    }
    const find = () => list.lines.findIndex((line) => line.video === video);
    if (find() < 0) {
      chooseAll();
      refresh();
    }
    list.choose(find(), frame);
  }

  function chooseAll() {
    Object.assign(choice, ALL);
    controls.text.value = "";
    controls.show.value = choice.show;
    controls.label.value = choice.label;
    for (const chip of controls.chips.children) chip.setAttribute("aria-pressed", "false");
  }

  fillControls();
  listen();
  // A browser may restore what was chosen before; the page begins as it was written.
  chooseAll();
  controls.order.value = choice.order;
  if (!store.count && store.failed.length) controls.show.value = choice.show = "failed";
  if (!store.count && !store.failed.length) empty.textContent = "No video was labelled.";
  const link = Address.read(location.hash);
  update();
  if (link) follow(link);
  document.body.dataset.ready = "yes";
})();
